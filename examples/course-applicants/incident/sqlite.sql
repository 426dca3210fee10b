-- THE INCIDENT, kept on purpose: a row of the table has one row in its history, and never a second.
create table applicant_history (
  id bigint not null primary key, -- it should be (id, rev)
  name varchar(200) not null,
  course varchar(200) not null,
  status varchar(20) not null,
  rev integer not null,
  revtype integer not null
);

create trigger applicant_inserted after insert on applicant begin
  insert into tx_revision (actor, reason) select actor, reason from tx_open_revision;
  insert into applicant_history values (new.id, new.name, new.course, new.status, last_insert_rowid(), 0);
end;

create trigger applicant_updated after update on applicant begin
  insert into tx_revision (actor, reason) select actor, reason from tx_open_revision;
  insert into applicant_history values (new.id, new.name, new.course, new.status, last_insert_rowid(), 1);
end;

create trigger applicant_deleted after delete on applicant begin
  insert into tx_revision (actor, reason) select actor, reason from tx_open_revision;
  insert into applicant_history values (old.id, old.name, old.course, old.status, last_insert_rowid(), 2);
end;
