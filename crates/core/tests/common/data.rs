//! Reading conformance tables: JSON in, with the place named when it is not as expected.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

pub(crate) static NULL: Value = Value::Null;

/// One case of a table.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) whole: Value,
}

impl Case {
    pub(crate) fn input(&self) -> &Value {
        get(&self.whole, "input")
    }

    pub(crate) fn expected(&self) -> &Value {
        get(&self.whole, "expected")
    }
}

/// The cases of a table.
pub(crate) fn cases(name: &str, text: &str) -> Vec<Case> {
    let table: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let cases = get(&table, "cases").as_array().cloned().unwrap_or_default();
    assert!(!cases.is_empty(), "{name} has no cases");
    let field = |case: &Value, key: &str| {
        get(case, key).as_str().unwrap_or_else(|| panic!("{name}: a case without {key}: {case}")).to_owned()
    };
    cases
        .into_iter()
        .map(|whole| Case { id: field(&whole, "id"), kind: field(&whole, "kind"), whole })
        .collect()
}

/// A member, or null.
pub(crate) fn get<'a>(value: &'a Value, key: &str) -> &'a Value {
    value.get(key).unwrap_or(&NULL)
}

pub(crate) fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    get(value, key).as_array().map_or(&[], Vec::as_slice)
}

pub(crate) fn int(value: &Value, key: &str) -> Option<i64> {
    get(value, key).as_i64()
}

pub(crate) fn count(value: &Value, key: &str) -> Option<u32> {
    int(value, key).and_then(|number| u32::try_from(number).ok())
}

pub(crate) fn number(value: &Value, key: &str) -> Option<f64> {
    get(value, key).as_f64()
}

pub(crate) fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    get(value, key).as_str()
}

pub(crate) fn flag(value: &Value, key: &str) -> bool {
    get(value, key).as_bool().unwrap_or(false)
}

/// The given fields of a case, which must be there.
pub(crate) fn must<T>(found: Option<T>, what: &str) -> Result<T, String> {
    found.ok_or_else(|| format!("no {what} in the case"))
}

/// Compares, and says which is which when they differ.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what} is {found:?}, expected {expected:?}")) }
}

/// Runs every case, prints how many of each kind ran, and fails with every failure at once.
#[expect(clippy::print_stdout, reason = "the counts are the proof that the table was run")]
pub(crate) fn run_all(name: &str, cases: &[Case], run: impl Fn(&Case) -> Result<(), String>) {
    assert!(!cases.is_empty(), "{name} has no cases");
    let mut ran: BTreeMap<&str, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for case in cases {
        *ran.entry(&case.kind).or_default() += 1;
        if let Err(why) = run(case) {
            failures.push(format!("{} ({}): {why}", case.id, case.kind));
        }
    }
    println!("{name}: {} cases {ran:?}, {} failed", cases.len(), failures.len());
    assert!(
        failures.is_empty(),
        "{} of {} cases of {name} failed:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

/// Every `*.json` of a directory, sorted by name: `(path, text)`.
#[expect(clippy::disallowed_methods, reason = "a test may read the tables it is pointed at")]
pub(crate) fn json_files(directory: &Path) -> Vec<(String, String)> {
    let entries =
        std::fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a directory entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let name = path.display().to_string();
            let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
            (name, text)
        })
        .collect()
}
