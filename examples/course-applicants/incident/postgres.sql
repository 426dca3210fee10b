-- THE INCIDENT, kept on purpose: a row of the table has one row in its history, and never a second.
create table applicant_history (
  id bigint not null primary key, -- it should be (id, rev)
  name varchar(200) not null,
  course varchar(200) not null,
  status varchar(20) not null,
  rev bigint not null,
  revtype smallint not null
);

create function applicant_changed() returns trigger language plpgsql as $$
begin
  if tg_op = 'INSERT' then
    insert into applicant_history values (new.id, new.name, new.course, new.status, tx_current_revision(), 0);
  elsif tg_op = 'UPDATE' then
    insert into applicant_history values (new.id, new.name, new.course, new.status, tx_current_revision(), 1);
  else
    insert into applicant_history values (old.id, old.name, old.course, old.status, tx_current_revision(), 2);
  end if;
  return null;
end
$$;

create trigger applicant_changed after insert or update or delete on applicant
  for each row execute function applicant_changed();
