//! The verbs: what can be done, how it is undone, which effect it holds.

use std::collections::BTreeMap;
use std::fmt;

use event::RiskClass;
use serde::{Deserialize, Serialize};

/// Something that can be done to a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verb {
    /// Cuts a device off the network; its EDR agent stays reachable.
    #[serde(rename = "host.isolate")]
    HostIsolate,
    /// Gives an isolated device its network back.
    #[serde(rename = "host.release")]
    HostRelease,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Verb; 2] = [Verb::HostIsolate, Verb::HostRelease];

    /// The name used in rules, actions and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Verb::HostIsolate => "host.isolate",
            Verb::HostRelease => "host.release",
        }
    }

    /// The verb of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Verb::ALL.into_iter().find(|v| v.as_str() == name)
    }

    /// The verb that takes this one back.
    pub const fn inverse(self) -> Verb {
        match self {
            Verb::HostIsolate => Verb::HostRelease,
            Verb::HostRelease => Verb::HostIsolate,
        }
    }

    /// The kind of effect that it brings about or ends.
    pub const fn effect(self) -> &'static str {
        match self {
            Verb::HostIsolate | Verb::HostRelease => "host.isolated",
        }
    }

    /// Whether it brings its effect about; else it ends it.
    pub const fn applies(self) -> bool {
        matches!(self, Verb::HostIsolate)
    }

    /// Risk class before the target raises it.
    pub const fn risk(self) -> RiskClass {
        match self {
            Verb::HostIsolate | Verb::HostRelease => RiskClass::R2,
        }
    }

    /// Checks arguments and fills in defaults; the error names the argument and its values.
    pub fn complete_args(self, args: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, String> {
        let known: &[(&str, &[&str])] = match self {
            Verb::HostIsolate => &[("isolation_type", &["full", "selective"])],
            Verb::HostRelease => &[],
        };
        if let Some(unknown) = args.keys().find(|k| !known.iter().any(|(name, _)| name == k)) {
            return Err(format!("{self} has no argument {unknown:?}"));
        }
        known.iter().map(|(name, values)| complete_arg(args, name, values)).collect()
    }
}

/// The argument as given, or the first of its values.
fn complete_arg(
    args: &BTreeMap<String, String>,
    name: &str,
    values: &[&str],
) -> Result<(String, String), String> {
    let value = args.get(name).map_or(values[0], String::as_str);
    if !values.contains(&value) {
        return Err(format!("{name} is {value:?}, expected one of {}", values.join(", ")));
    }
    Ok((name.to_owned(), value.to_owned()))
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverses_share_their_effect_and_go_both_ways() {
        for verb in Verb::ALL {
            assert_eq!(Verb::from_name(verb.as_str()), Some(verb));
            assert_eq!(verb.inverse().inverse(), verb);
            assert_eq!(verb.inverse().effect(), verb.effect());
            assert_ne!(verb.inverse().applies(), verb.applies());
        }
    }

    #[test]
    fn arguments_are_checked() {
        let args = |k: &str, v: &str| BTreeMap::from([(k.to_owned(), v.to_owned())]);
        let full = Verb::HostIsolate.complete_args(&BTreeMap::new()).unwrap();
        assert_eq!(full, args("isolation_type", "full"));
        let error = Verb::HostIsolate.complete_args(&args("isolation_type", "total")).unwrap_err();
        assert_eq!(error, "isolation_type is \"total\", expected one of full, selective");
        assert!(Verb::HostRelease.complete_args(&args("force", "1")).is_err());
    }
}
