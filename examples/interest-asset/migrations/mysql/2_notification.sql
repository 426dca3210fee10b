create table notification (
    account_id bigint not null,
    asset_id bigint not null,
    primary key (account_id, asset_id)
);
