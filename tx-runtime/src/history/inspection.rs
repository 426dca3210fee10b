//! What there is, held against what there should be.

use crate::dialect::Dialect;
use crate::dialect::history::{
    Blueprint, Column, Damage, REV, REVSEQ, REVTYPE, Relation, Repair, Survey, TableName, Tool,
    ToolKind,
};

use super::error::HistoryError;
use super::report::{Fault, Finding};

/// Whether a history has a column of this name for itself.
pub(super) fn is_reserved(column: &str) -> bool {
    [REV, REVTYPE, REVSEQ]
        .iter()
        .any(|own| own.eq_ignore_ascii_case(column))
}

/// Everything about the history of one table that is not as it should be.
pub(super) fn inspect<DB: Dialect>(
    name: &TableName,
    survey: &Survey,
) -> Result<Vec<Finding>, HistoryError> {
    let Some(table) = &survey.table else {
        return Err(HistoryError::NoTable {
            table: name.to_string(),
        });
    };
    let blueprint = DB::blueprint(&survey.place, table);
    let mut faults = Faults {
        table: name.to_string(),
        findings: Vec::new(),
    };
    for tool in &blueprint.shared {
        faults.tool(survey, tool);
    }
    match &survey.history {
        None => faults.add(
            Fault::HistoryMissing {
                name: blueprint.name.clone(),
            },
            blueprint.create.clone(),
            Some(blueprint.drop.clone()),
        ),
        Some(history) => {
            let repair = Repair {
                place: &survey.place,
                blueprint: &blueprint,
                table,
                history,
            };
            faults.history::<DB>(&repair);
        }
    }
    let before = faults.findings.len();
    for tool in &blueprint.recorders {
        faults.tool(survey, tool);
    }
    let makes_triggers = faults.findings.len() > before;
    for writer in &survey.writers {
        if !blueprint
            .recorders
            .iter()
            .any(|tool| tool.name == writer.name)
        {
            let name = writer.name.clone();
            faults.add(Fault::ForeignRecorder { name }, writer.drop.clone(), None);
        }
    }
    for cascade in &survey.cascades {
        let fault = Fault::Cascade {
            constraint: cascade.constraint.clone(),
            rule: cascade.rule.clone(),
        };
        faults.add(fault, cascade.fix.clone(), None);
    }
    for setting in &survey.settings {
        let fault = Fault::Setting {
            name: setting.name,
            problem: setting.problem,
        };
        if !setting.for_triggers {
            faults.add(fault, setting.fix.to_owned(), None);
        } else if makes_triggers {
            // Without it none of the others can be mended.
            faults.add(fault, setting.fix.to_owned(), None);
            faults.findings.rotate_right(1);
        }
    }
    Ok(faults.findings)
}

struct Faults {
    table: String,
    findings: Vec<Finding>,
}

impl Faults {
    fn add(&mut self, fault: Fault, fix: String, undo: Option<String>) {
        let table = self.table.clone();
        self.findings.push(Finding {
            table,
            fault,
            fix,
            undo,
        });
    }

    fn tool(&mut self, survey: &Survey, tool: &Tool) {
        let name = tool.name.clone();
        let (create, drop) = (tool.create.clone(), Some(tool.drop.clone()));
        match survey.tools.get(&tool.key) {
            None if tool.kind == ToolKind::Table => {
                self.add(Fault::SharedTableMissing { name }, create, drop);
            }
            None => self.add(Fault::RecorderMissing { name }, create, drop),
            Some(found) if !tool.is_as(found) => {
                // A function is replaced in place: triggers stand on it.
                let fix = if tool.kind == ToolKind::Function {
                    create
                } else {
                    format!("{}{create}", tool.drop)
                };
                self.add(Fault::RecorderOutdated { name }, fix, None);
            }
            Some(found) if !found.enabled => {
                self.add(Fault::RecorderDisabled { name }, tool.enable.clone(), None);
            }
            Some(_) => {}
        }
    }

    fn history<DB: Dialect>(&mut self, repair: &Repair) {
        let Repair {
            blueprint,
            table,
            history,
            ..
        } = repair;
        // First what is there, then what is to come: a table has one column that counts.
        for column in &blueprint.columns {
            if let Some(found) = history.column(&column.name)
                && !same(found, column)
            {
                let fault = Fault::ColumnDiffers {
                    column: column.name.clone(),
                    found: shown(found),
                    expected: shown(column),
                };
                let fix = DB::repair(repair, &Damage::ColumnDiffers(column));
                self.add(fault, fix, None);
            }
        }
        for column in missing(blueprint, history) {
            let fault = Fault::ColumnMissing {
                column: column.name.clone(),
            };
            let fix = DB::repair(repair, &Damage::ColumnMissing(column));
            self.add(fault, fix, None);
        }
        let mut expected = table.key.clone();
        expected.push(REV.to_owned());
        if history.key != expected {
            let found = history.key.clone();
            let fix = DB::repair(repair, &Damage::Key);
            self.add(Fault::PrimaryKey { found, expected }, fix, None);
        }
        for index in &history.unique {
            // With the revision in it, it holds what the key holds.
            if !index.columns.iter().any(|column| column == REV) {
                let fault = Fault::UniqueIndex {
                    index: index.name.clone(),
                    columns: index.columns.clone(),
                };
                let fix = DB::repair(repair, &Damage::Unique(index));
                self.add(fault, fix, None);
            }
        }
    }
}

fn missing<'a>(
    blueprint: &'a Blueprint,
    history: &'a Relation,
) -> impl Iterator<Item = &'a Column> {
    let columns = blueprint.columns.iter();
    columns.filter(|column| history.column(&column.name).is_none())
}

fn same(found: &Column, expected: &Column) -> bool {
    found.kind.eq_ignore_ascii_case(&expected.kind) && found.filled == expected.filled
}

fn shown(column: &Column) -> String {
    let kind = if column.kind.is_empty() {
        "of no type"
    } else {
        &column.kind
    };
    match column.filled.as_str() {
        "" => kind.to_owned(),
        filled => format!("{kind} ({filled})"),
    }
}
