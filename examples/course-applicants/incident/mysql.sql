-- THE INCIDENT, kept on purpose: a row of the table has one row in its history, and never a second.
create table applicant_history (
  id bigint not null primary key, -- it should be (id, rev)
  name varchar(200) not null,
  course varchar(200) not null,
  status varchar(20) not null,
  rev bigint not null,
  revtype tinyint not null
);

create trigger applicant_inserted after insert on applicant for each row begin
  insert into tx_revision (at, actor, reason) values (utc_timestamp(6), @tx_actor, @tx_reason);
  insert into applicant_history values (new.id, new.name, new.course, new.status, last_insert_id(), 0);
end;

create trigger applicant_updated after update on applicant for each row begin
  insert into tx_revision (at, actor, reason) values (utc_timestamp(6), @tx_actor, @tx_reason);
  insert into applicant_history values (new.id, new.name, new.course, new.status, last_insert_id(), 1);
end;

create trigger applicant_deleted after delete on applicant for each row begin
  insert into tx_revision (at, actor, reason) values (utc_timestamp(6), @tx_actor, @tx_reason);
  insert into applicant_history values (old.id, old.name, old.course, old.status, last_insert_id(), 2);
end;
