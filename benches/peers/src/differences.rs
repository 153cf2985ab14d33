//! Differences between the engines, and `differences.yml`, which explains them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// An engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Engine {
    Asterism,
    Rsigma,
}

/// A rule that only one engine fires on some records: how many these are, and where the first is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Records {
    pub(crate) count: u64,
    pub(crate) first: String,
}

/// What only one engine found, by rule id and engine.
pub(crate) type Found = BTreeMap<(String, Engine), Records>;

/// One cause of differences.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cause {
    /// A short name.
    cause: String,
    /// The engine that alone fires.
    fires: Engine,
    /// The engine that does as the specification says.
    right: Engine,
    /// What happens.
    why: String,
    /// What the specification says to it.
    specification: String,
    /// Ids of the rules that differ so.
    rules: BTreeSet<String>,
}

/// The explained differences.
pub(crate) struct Explained(Vec<Cause>);

/// Whether all records were compared, so that each explained difference must have been seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    Complete,
    Sample,
}

impl Explained {
    /// The file that lies beside this program's sources.
    pub(crate) fn shipped() -> Result<Self> {
        Self::parse(include_str!("../differences.yml"))
    }

    fn parse(text: &str) -> Result<Self> {
        let causes: Vec<Cause> = serde_yaml_ng::from_str(text).context("differences.yml")?;
        for cause in &causes {
            let name = &cause.cause;
            let is_told = !cause.why.trim().is_empty() && !cause.specification.trim().is_empty();
            ensure!(is_told, "differences.yml: {name}: `why` and `specification` must say something");
            ensure!(!cause.rules.is_empty(), "differences.yml: {name}: `rules` is empty");
        }
        Ok(Self(causes))
    }

    /// Prints how much each cause explains.
    ///
    /// # Errors
    /// Differences without explanation and, of a complete comparison, explanations without difference, in a list.
    pub(crate) fn check(&self, found: &Found, extent: Extent) -> Result<()> {
        let mut problems: Vec<String> = found
            .iter()
            .filter(|((rule, engine), _)| self.cause(rule, *engine).is_none())
            .map(|((rule, engine), records)| format!("only {engine} fires {rule}: {records}"))
            .collect();
        for cause in &self.0 {
            self.report(cause, found);
            let unseen =
                cause.rules.iter().filter(|rule| !found.contains_key(&((*rule).clone(), cause.fires)));
            if extent == Extent::Complete {
                problems.extend(
                    unseen.map(|rule| format!("differences.yml: {}: {rule} does not differ", cause.cause)),
                );
            }
        }
        if !problems.is_empty() {
            bail!("{} differences without explanation:\n{}", problems.len(), problems.join("\n"));
        }
        Ok(())
    }

    fn cause(&self, rule: &str, engine: Engine) -> Option<&Cause> {
        self.0.iter().find(|cause| cause.fires == engine && cause.rules.contains(rule))
    }

    fn report(&self, cause: &Cause, found: &Found) {
        let of_cause = found.iter().filter(|((rule, e), _)| *e == cause.fires && cause.rules.contains(rule));
        let (rules, records) = of_cause.fold((0, 0), |(rules, sum), (_, r)| (rules + 1, sum + r.count));
        println!(
            "  {}: only {} fires, {} is right: {rules} rules, {records} matches",
            cause.cause, cause.fires, cause.right
        );
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Asterism => "asterism",
            Engine::Rsigma => "rsigma",
        })
    }
}

impl fmt::Display for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records, first {}", self.count, self.first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str =
        "- {cause: dash, fires: asterism, right: asterism, why: w, specification: s, rules: [a, b]}\n";

    fn found(rules: &[(&str, Engine)]) -> Found {
        let records = Records { count: 2, first: "f:1".to_owned() };
        rules.iter().map(|(rule, engine)| (((*rule).to_owned(), *engine), records.clone())).collect()
    }

    fn problems(rules: &[(&str, Engine)], extent: Extent) -> String {
        let explained = Explained::parse(FILE).expect("the file is well formed");
        explained.check(&found(rules), extent).map_or_else(|e| e.to_string(), |()| String::new())
    }

    #[test]
    fn what_is_explained_passes() {
        assert_eq!(problems(&[("a", Engine::Asterism), ("b", Engine::Asterism)], Extent::Complete), "");
    }

    #[test]
    fn what_is_not_explained_is_listed() {
        let said = problems(&[("a", Engine::Rsigma), ("c", Engine::Asterism)], Extent::Sample);
        assert!(said.contains("only rsigma fires a: 2 records, first f:1"), "{said}");
        assert!(said.contains("only asterism fires c"), "{said}");
    }

    #[test]
    fn an_explanation_that_explains_nothing_is_listed_after_a_complete_comparison() {
        let one = [("a", Engine::Asterism)];
        assert!(problems(&one, Extent::Complete).contains("b does not differ"));
        assert_eq!(problems(&one, Extent::Sample), "");
    }

    #[test]
    fn a_cause_must_be_told() {
        let silent = FILE.replace("specification: s", "specification: ' '");
        let error = Explained::parse(&silent).map(|_| ()).expect_err("nothing is said").to_string();
        assert!(error.contains("dash") && error.contains("specification"), "{error}");
    }

    #[test]
    fn the_shipped_file_is_sound() {
        Explained::shipped().expect("differences.yml can be read");
    }
}
