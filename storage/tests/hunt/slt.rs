//! Hunting SQL as data: `*.slt` files beside this one, in the form of sqllogictest's `query` records. A record is
//! `query`, the statement, `----`, and the rows with single spaces between values; a blank line ends it.

use std::path::Path;

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::company;
use crate::fixture::collect;

struct Case {
    line: usize,
    sql: String,
    rows: Vec<String>,
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut in_rows = None;
    for (i, line) in text.lines().enumerate() {
        match (line.trim_end(), in_rows) {
            ("query", _) => {
                cases.push(Case { line: i + 1, sql: String::new(), rows: Vec::new() });
                in_rows = Some(false);
            }
            ("----", Some(false)) => in_rows = Some(true),
            ("", _) => in_rows = None,
            (line, Some(rows)) => {
                let case = cases.last_mut().unwrap();
                if rows { case.rows.push(line.to_owned()) } else { case.sql.push_str(&format!("{line}\n")) }
            }
            (line, None) => assert!(line.starts_with('#'), "line {}: {line:?} is in no record", i + 1),
        }
    }
    cases
}

fn rows(batches: &[RecordBatch]) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let mut rows = Vec::new();
    for batch in batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|c| ArrayFormatter::try_new(c, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join(" "));
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn hunting_sql_answers_as_written() {
    let f = company().await;
    let hunt = f.hunt();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hunt");
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "slt") {
            continue;
        }
        for case in cases(&std::fs::read_to_string(&path).unwrap()) {
            let place = format!("{}:{}", path.display(), case.line);
            let answer = match collect(&hunt, &case.sql, "t").await {
                Ok(batches) => rows(&batches),
                Err(e) => vec![format!("error: {e}")],
            };
            assert_eq!(answer, case.rows, "{place}\n{}", case.sql);
            checked += 1;
        }
    }
    assert!(checked >= 10, "{checked} queries found");
}
