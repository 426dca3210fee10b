-- One row per account, as the incident had it: only the program keeps it so, no unique key does.
create table interest_asset (
    id bigint auto_increment primary key,
    account_id bigint not null,
    assets text not null,
    index interest_asset_account (account_id)
);
