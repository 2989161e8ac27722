//! What `doctor` found, as text and as JSON.

use std::fmt::Write;

/// How a check went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well; some detail.
    Passed(String),
    /// Badly; why.
    Failed(String),
    /// Not made, because an earlier one failed.
    Skipped,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was checked.
    pub name: &'static str,
    /// How it went.
    pub outcome: Outcome,
}

/// All checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// In the order in which they were made.
    pub checks: Vec<Check>,
}

impl Report {
    pub(super) fn pass(&mut self, name: &'static str, detail: &str) {
        self.checks.push(Check { name, outcome: Outcome::Passed(detail.to_owned()) });
    }

    pub(super) fn fail(&mut self, name: &'static str, reason: String) {
        self.checks.push(Check { name, outcome: Outcome::Failed(reason) });
    }

    /// Notes those of `names` that have not been made as skipped, and gives the report up.
    pub(super) fn skip_rest(&mut self, names: &[&'static str]) -> Self {
        for name in names {
            if !self.checks.iter().any(|check| check.name == *name) {
                self.checks.push(Check { name, outcome: Outcome::Skipped });
            }
        }
        self.clone()
    }

    /// Whether guests can run here.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.checks.iter().all(|check| matches!(check.outcome, Outcome::Passed(_)))
    }

    /// One line per check.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for check in &self.checks {
            let (mark, detail) = match &check.outcome {
                Outcome::Passed(detail) => ("ok  ", detail.as_str()),
                Outcome::Failed(reason) => ("FAIL", reason.as_str()),
                Outcome::Skipped => ("-   ", "not checked"),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{mark} kvm: {:<14} {}", check.name, detail.replace('\n', " "));
        }
        text
    }

    /// `{"usable":…,"checks":[{"name":…,"outcome":"passed|failed|skipped","detail":…}]}`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let checks: Vec<String> = self
            .checks
            .iter()
            .map(|check| {
                let (outcome, detail) = match &check.outcome {
                    Outcome::Passed(detail) => ("passed", detail.as_str()),
                    Outcome::Failed(reason) => ("failed", reason.as_str()),
                    Outcome::Skipped => ("skipped", ""),
                };
                let (name, detail) = (quoted(check.name), quoted(detail));
                format!("{{\"name\":{name},\"outcome\":\"{outcome}\",\"detail\":{detail}}}")
            })
            .collect();
        format!("{{\"usable\":{},\"checks\":[{}]}}", self.is_usable(), checks.join(","))
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_check_makes_the_host_unusable() {
        let mut report = Report::default();
        report.pass("one", "fine \"enough\"");
        assert!(report.is_usable());
        report.fail("two", "no\nway".to_owned());
        let report = report.skip_rest(&["one", "two", "three"]);
        assert!(!report.is_usable());
        assert_eq!(
            report.to_json(),
            r#"{"usable":false,"checks":[{"name":"one","outcome":"passed","detail":"fine \"enough\""},{"name":"two","outcome":"failed","detail":"no\u000away"},{"name":"three","outcome":"skipped","detail":""}]}"#
        );
        assert_eq!(report.to_text().lines().count(), 3);
    }
}
