//! The numbers that decide what belongs together: one versioned data file, its meaning in its comments.

use std::collections::BTreeMap;
use std::sync::Arc;

use event::{RiskLevel, Severity};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::error::CorrelateError;
use crate::evidence::Evidence;
use crate::fixed::ONE;
use crate::join::Definitions;

/// Parameters of correlation, read from a file like `parameters.yml`, which documents every one.
#[derive(Debug, Clone)]
pub struct Parameters {
    pub(crate) file: Arc<File>,
    hash: Arc<str>,
}

/// A share in millionths.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share(pub(crate) u32);

/// A duration in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span(pub(crate) i64);

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    version: u32,
    pub(crate) theta: Share,
    pub(crate) neighbours: usize,
    pub(crate) horizon: Span,
    pub(crate) span_max: Span,
    pub(crate) episode_gap: Span,
    pub(crate) ramp: Span,
    pub(crate) rarity_epoch: Span,
    pub(crate) rarity_epochs: usize,
    pub(crate) rarity_slots: usize,
    pub(crate) evidence: EvidenceTable,
    pub(crate) at_once: AtOnce,
    pub(crate) elsewhere: Elsewhere,
    pub(crate) corroborated: Share,
    pub(crate) joins: JoinTable,
    /// The joins that `joins` weighs.
    #[serde(skip)]
    pub(crate) definitions: Definitions,
    pub(crate) tree: Tree,
    pub(crate) sigma: Sigma,
    pub(crate) kappa: Kappa,
    pub(crate) alias: AliasLimits,
    pub(crate) limits: Limits,
    pub(crate) priority: Priority,
    pub(crate) confidence: Confidence,
    pub(crate) risk: Risk,
}

/// What beginning at one moment adds to whatever two alerts share.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AtOnce {
    pub(crate) share: Share,
    pub(crate) half_life: Span,
}

/// What is left of a user as evidence where no device is shared.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Elsewhere {
    pub(crate) user: Share,
    pub(crate) bare_name: Share,
}

/// How one kind of evidence counts.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Weighing {
    pub(crate) beta: Share,
    pub(crate) half_life: Span,
    pub(crate) prior: Share,
    pub(crate) free: u32,
    pub(crate) population: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvidenceTable {
    process: Weighing,
    session: Weighing,
    message: Weighing,
    file: Weighing,
    user: Weighing,
    mailbox: Weighing,
    device: Weighing,
    ip_external: Weighing,
    ip_internal: Weighing,
    url: Weighing,
    domain: Weighing,
    app: Weighing,
    cloud_resource: Weighing,
    rule: Weighing,
}

/// How the joins of plain events count.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JoinTable {
    pub(crate) hops: u8,
    pub(crate) hop: Share,
    #[serde(rename = "kinds")]
    by_name: BTreeMap<String, Weighing>,
    /// In the order of the definitions.
    #[serde(skip)]
    pub(crate) kinds: Vec<Weighing>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tree {
    pub(crate) steps: u8,
    pub(crate) step: Share,
    pub(crate) session_roots: Vec<String>,
    pub(crate) foreign: Share,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sigma {
    pub(crate) fall: Share,
    pub(crate) free: u32,
    pub(crate) population: u32,
    pub(crate) repeats: u32,
    severity: ShareBySeverity,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShareBySeverity {
    informational: Share,
    low: Share,
    medium: Share,
    high: Share,
    critical: Share,
}

impl ShareBySeverity {
    fn of(&self, severity: Severity) -> u32 {
        match severity {
            Severity::Informational => self.informational.0,
            Severity::Low => self.low.0,
            Severity::Medium => self.medium.0,
            Severity::High => self.high.0,
            Severity::Critical => self.critical.0,
        }
    }
}

impl Sigma {
    /// The most that an alert of this severity says, in millionths.
    pub(crate) fn of(&self, severity: Severity) -> u32 {
        self.severity.of(severity)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kappa {
    pub(crate) forward: Share,
    pub(crate) same: Share,
    pub(crate) backward: Share,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AliasLimits {
    pub(crate) partners_per_form_max: usize,
    pub(crate) ids_max: usize,
    pub(crate) names_of_short_host_max: usize,
    pub(crate) cluster_max: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) alerts: usize,
    pub(crate) provisional_alerts: usize,
    pub(crate) entities_per_alert: usize,
    pub(crate) alias_values: usize,
    pub(crate) processes: usize,
    pub(crate) join_rows: usize,
    pub(crate) join_links: usize,
    pub(crate) incident_alerts_eager: usize,
    pub(crate) graph_nodes: usize,
    pub(crate) risk_entities: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BySeverity {
    informational: u32,
    low: u32,
    medium: u32,
    high: u32,
    critical: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Priority {
    pub(crate) severity: BySeverity,
    pub(crate) tactic: u32,
    pub(crate) tactic_max: u32,
    pub(crate) domain: u32,
    pub(crate) domain_max: u32,
    pub(crate) asset: u32,
    pub(crate) asset_max: u32,
    pub(crate) alert_doubling: u32,
    pub(crate) alert_doubling_max: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Confidence {
    pub(crate) severity: BySeverity,
    pub(crate) rule: u32,
    pub(crate) rule_max: u32,
    pub(crate) domain: u32,
    pub(crate) domain_max: u32,
}

/// How alerts make the risk of an entity.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Risk {
    pub(crate) half_life: Span,
    severity: ShareBySeverity,
    pub(crate) involved: Share,
    levels: RiskLevels,
}

/// The lowest score of each level.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RiskLevels {
    low: u32,
    medium: u32,
    high: u32,
}

impl Risk {
    /// What a fresh alert of this severity alone gives, in millionths.
    pub(crate) fn of(&self, severity: Severity) -> u32 {
        self.severity.of(severity)
    }

    /// The level of a score of 0 to 100.
    pub(crate) const fn level(&self, score: u32) -> RiskLevel {
        match score {
            _ if score >= self.levels.high => RiskLevel::High,
            _ if score >= self.levels.medium => RiskLevel::Medium,
            _ if score >= self.levels.low => RiskLevel::Low,
            _ => RiskLevel::None,
        }
    }
}

/// The format this program reads.
const VERSION: u32 = 2;

/// The parameters that ship with the program.
const BUILTIN: &str = include_str!("../parameters.yml");

/// The joins of plain events that ship with the program.
const JOINS: &str = include_str!("../joins.yml");

impl Parameters {
    /// The shipped parameters.
    ///
    /// # Errors
    /// [`CorrelateError::Parameters`] if the shipped file is defective, which the tests exclude.
    pub fn builtin() -> Result<Self, CorrelateError> {
        Self::parse(BUILTIN)
    }

    /// Reads a parameter file.
    ///
    /// # Errors
    /// [`CorrelateError::Parameters`] with the place and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, CorrelateError> {
        let mut file: File =
            serde_yaml_ng::from_str(text).map_err(|e| CorrelateError::Parameters(e.to_string()))?;
        file.definitions = Definitions::parse(JOINS)?;
        file.joins.bind(&file.definitions)?;
        file.check()?;
        let hash = blake3::Hasher::new().update(text.as_bytes()).update(JOINS.as_bytes()).finalize().to_hex();
        Ok(Self { file: Arc::new(file), hash: hash[..16].into() })
    }

    /// The first 64 bits of the BLAKE3 of the file and of `joins.yml`, in hex: results with one hash are comparable.
    pub fn hash(&self) -> &Arc<str> {
        &self.hash
    }

    /// The weight at which two alerts join, in millionths.
    pub fn theta_ppm(&self) -> u32 {
        self.file.theta.0
    }
}

/// Evidence that is none by itself.
const NOTHING: Weighing =
    Weighing { beta: Share(0), half_life: Span(0), prior: Share(0), free: 1, population: 1 };

impl JoinTable {
    /// Puts the weights in the order of the definitions.
    fn bind(&mut self, definitions: &Definitions) -> Result<(), CorrelateError> {
        let wrong = |what: String| Err(CorrelateError::Parameters(what));
        for definition in &definitions.joins {
            match self.by_name.get(&*definition.name) {
                Some(weighing) => self.kinds.push(*weighing),
                None => return wrong(format!("joins: no weights for {}", definition.name)),
            }
        }
        match self.by_name.keys().find(|name| !definitions.joins.iter().any(|join| *join.name == ***name)) {
            Some(unknown) => wrong(format!("joins: no join is called {unknown}")),
            None => Ok(()),
        }
    }
}

impl File {
    fn check(&self) -> Result<(), CorrelateError> {
        let wrong = |what: &str| Err(CorrelateError::Parameters(what.to_owned()));
        if self.version != VERSION {
            return wrong(&format!("version {} is not {VERSION}, the one this program reads", self.version));
        }
        if !(1..=64).contains(&self.neighbours) {
            return wrong("neighbours must be 1 to 64");
        }
        if !self.rarity_slots.is_power_of_two() || self.rarity_slots < 64 {
            return wrong("rarity_slots must be a power of two of at least 64");
        }
        if self.rarity_epoch.0 <= 0 || self.rarity_epochs == 0 || self.horizon.0 <= 0 || self.ramp.0 <= 0 {
            return wrong("rarity_epoch, rarity_epochs, horizon and ramp must be more than nothing");
        }
        let own = Evidence::ALL.iter().map(|kind| self.weighing(*kind));
        let betas = own.chain(&self.joins.kinds).map(|weighing| weighing.beta.0);
        if betas.chain([self.joins.hop.0, self.at_once.share.0]).any(|share| share > ONE) {
            return wrong("beta, hop and the share of at_once must be at most 1");
        }
        if self.joins.hops > 4 || self.joins.kinds.iter().any(|kind| !(1..=1_024).contains(&kind.population))
        {
            return wrong("joins: hops must be at most 4, population 1 to 1024");
        }
        let risk = &self.risk;
        if risk.half_life.0 <= 0 || risk.severity.of(Severity::Critical) > ONE || risk.involved.0 > ONE {
            return wrong("risk: half_life must be more than nothing, shares at most 1");
        }
        let levels = &risk.levels;
        if levels.low == 0 || levels.low > levels.medium || levels.medium > levels.high || levels.high > 100 {
            return wrong("risk: levels must rise from 1 to 100");
        }
        Ok(())
    }

    pub(crate) fn weighing(&self, kind: Evidence) -> &Weighing {
        let table = &self.evidence;
        match kind {
            Evidence::Process => &table.process,
            Evidence::Session => &table.session,
            Evidence::Message => &table.message,
            Evidence::File => &table.file,
            Evidence::User => &table.user,
            Evidence::Mailbox => &table.mailbox,
            Evidence::Device => &table.device,
            Evidence::IpExternal => &table.ip_external,
            Evidence::IpInternal => &table.ip_internal,
            Evidence::Url => &table.url,
            Evidence::Domain => &table.domain,
            Evidence::App => &table.app,
            Evidence::CloudResource => &table.cloud_resource,
            Evidence::Rule => &table.rule,
            Evidence::Record => &NOTHING,
            Evidence::Join(join) => self.joins.kinds.get(join as usize).unwrap_or(&NOTHING),
        }
    }

    pub(crate) fn is_session_root(&self, image: &str) -> bool {
        self.tree.session_roots.iter().any(|root| root == image)
    }
}

impl BySeverity {
    pub(crate) fn of(&self, severity: Severity) -> u32 {
        match severity {
            Severity::Informational => self.informational,
            Severity::Low => self.low,
            Severity::Medium => self.medium,
            Severity::High => self.high,
            Severity::Critical => self.critical,
        }
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        if !(0.0..=4.0).contains(&value) {
            return Err(D::Error::custom(format!("{value} is no share (0 to 1, factors to 4)")));
        }
        // The one place where a float is met; it ends here, rounded to millionths.
        Ok(Share((value * f64::from(ONE)).round() as u32))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let unit_s = match &text[split..] {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => {
                return Err(D::Error::custom(format!("{text:?} is no duration (a number and s, m, h or d)")));
            }
        };
        let count: i64 =
            text[..split].parse().map_err(|_| D::Error::custom(format!("{text:?} is no duration")))?;
        count
            .checked_mul(unit_s * 1_000_000)
            .map(Span)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is too long")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_is_sound() {
        let parameters = Parameters::builtin().unwrap();
        assert_eq!(parameters.theta_ppm(), 400_000);
        assert_eq!(parameters.file.weighing(Evidence::Device).half_life.0, 1_200_000_000);
        assert_eq!(parameters.hash().len(), 16);
    }

    fn says(text: &str, expected: &str) {
        let message = Parameters::parse(text).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn a_wrong_file_says_where() {
        let unknown = BUILTIN.replace("neighbours: 8", "neighbors: 8");
        says(&unknown, "unknown field `neighbors`");
        let unit = BUILTIN.replace("horizon: 7d", "horizon: 7 weeks");
        says(&unit, "\"7 weeks\" is no duration (a number and s, m, h or d) at line");
        let version = BUILTIN.replace("version: 2", "version: 9");
        says(&version, "version 9 is not 2, the one this program reads");
    }

    #[test]
    fn another_text_has_another_hash() {
        let other = BUILTIN.replace("theta: 0.40", "theta: 0.41");
        assert_ne!(Parameters::parse(&other).unwrap().hash(), Parameters::builtin().unwrap().hash());
    }
}
