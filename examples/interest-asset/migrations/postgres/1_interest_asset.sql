-- One row per account, as the incident had it: only the program keeps it so, no unique key does.
create table interest_asset (
    id bigint generated always as identity primary key,
    account_id bigint not null,
    assets text not null
);
create index interest_asset_account on interest_asset (account_id);
