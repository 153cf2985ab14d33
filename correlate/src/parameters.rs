//! The numbers that decide what belongs together: one versioned data file, its meaning in its comments.

use std::collections::BTreeMap;
use std::sync::Arc;

use event::{Feed, RiskLevel, Severity};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::error::CorrelateError;
use crate::evidence::Evidence;
use crate::fixed::ONE;
use crate::join::Definitions;
use crate::rarity::SLOTS_MAX;

/// Parameters of correlation, read from a file like `parameters.yml`, which documents every one.
#[derive(Debug, Clone)]
pub struct Parameters {
    pub(crate) file: Arc<File>,
    hash: Arc<str>,
    text: Arc<str>,
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
    pub(crate) rarity_hearsay: u32,
    pub(crate) evidence: EvidenceTable,
    pub(crate) at_once: AtOnce,
    pub(crate) elsewhere: Elsewhere,
    pub(crate) corroborated: Share,
    /// Counterparties that an entity may meet in corroborated pairs; without a bound a storm would never fade.
    pub(crate) corroborated_max: u32,
    pub(crate) joins: JoinTable,
    /// The joins that `joins` weighs.
    #[serde(skip)]
    pub(crate) definitions: Definitions,
    pub(crate) tree: Tree,
    pub(crate) sigma: Sigma,
    pub(crate) kappa: Kappa,
    pub(crate) alias: AliasLimits,
    pub(crate) address: AddressRules,
    pub(crate) incident: IncidentRules,
    pub(crate) campaign: CampaignRules,
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

/// How long an address is a device's.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddressRules {
    pub(crate) valid: Span,
    pub(crate) shared_within: Span,
}

/// When incidents become one, and how long and how large one gets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IncidentRules {
    pub(crate) worked: Share,
    pub(crate) reopen: Reopen,
    pub(crate) idle: Span,
    pub(crate) life_max: Span,
    pub(crate) episodes_max: usize,
    pub(crate) entities_max: usize,
    pub(crate) part_min: Share,
    /// Patterns by the name of their scope.
    pub(crate) scopes: BTreeMap<String, Vec<String>>,
}

/// What an alert does that would join a closed incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reopen {
    /// It begins another one.
    Never,
    /// It begins another one that points to the closed one.
    NewLinked,
    /// It opens the closed one again within this many microseconds.
    Within(i64),
}

/// What links incidents to a campaign.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CampaignRules {
    pub(crate) kinds: Vec<Evidence>,
    pub(crate) rarity: Share,
    pub(crate) window: Span,
    pub(crate) principals_max: usize,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) alerts: usize,
    pub(crate) waiting_alerts: usize,
    pub(crate) incidents: usize,
    pub(crate) suggestions: usize,
    pub(crate) inputs: usize,
    pub(crate) artefacts: usize,
    pub(crate) addresses: usize,
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
        Ok(Self { file: Arc::new(file), hash: hash[..16].into(), text: text.into() })
    }

    /// What sources can give: joins of events do not wait for kinds of source that have nothing for them. They wait for all
    /// where this is not set.
    #[must_use]
    pub fn feeds(mut self, feeds: &[Feed]) -> Self {
        Arc::make_mut(&mut self.file).definitions.relate(feeds);
        self
    }

    /// The first 64 bits of the BLAKE3 of the file and of `joins.yml`, in hex: results with one hash are comparable.
    pub fn hash(&self) -> &Arc<str> {
        &self.hash
    }

    /// The file as it was read: what makes a [`Correlator`](crate::Correlator) of the same parameters elsewhere.
    pub fn text(&self) -> &str {
        &self.text
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
        if !self.rarity_slots.is_power_of_two() || !(64..=SLOTS_MAX).contains(&self.rarity_slots) {
            return wrong("rarity_slots must be a power of two from 64 to 16777216");
        }
        if !(1..=128).contains(&self.rarity_hearsay) {
            return wrong("rarity_hearsay must be 1 to 128");
        }
        if self.rarity_epoch.0 <= 0 || self.rarity_epochs == 0 || self.horizon.0 <= 0 || self.ramp.0 <= 0 {
            return wrong("rarity_epoch, rarity_epochs, horizon and ramp must be more than nothing");
        }
        if self.incident.part_min.0 == 0 || self.incident.part_min.0 > ONE / 2 {
            return wrong("part_min must be more than 0 and at most 0.5");
        }
        if !(1..=86_400_000_000).contains(&self.address.shared_within.0) || self.address.valid.0 <= 0 {
            return wrong("shared_within must be more than nothing and at most 24h, valid more than nothing");
        }
        if self.incident.idle.0 <= 0 || self.incident.life_max.0 <= 0 || self.campaign.window.0 <= 0 {
            return wrong("idle, life_max and window must be more than nothing");
        }
        if self.incident.scopes.len() > usize::from(u16::MAX) {
            return wrong("there can be 65535 scopes");
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

    /// The first scope that one of the names follows.
    pub(crate) fn scope_of<'a>(&self, names: impl Iterator<Item = &'a str> + Clone) -> Option<u16> {
        let has = |patterns: &Vec<String>| {
            names.clone().any(|name| patterns.iter().any(|p| is_like(p.as_bytes(), name.as_bytes())))
        };
        let found = self.incident.scopes.values().position(has);
        found.and_then(|i| u16::try_from(i).ok())
    }

    pub(crate) fn is_session_root(&self, image: &str) -> bool {
        self.tree.session_roots.iter().any(|root| root == image)
    }
}

/// Whether a text follows a pattern in which `*` stands for any text. Texts are lower case, patterns are taken so.
fn is_like(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            retry = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|c| c.to_ascii_lowercase() == text[t]) {
            (p, t) = (p + 1, t + 1);
        } else if let Some((star, from)) = retry {
            retry = Some((star, from + 1));
            (p, t) = (star + 1, from + 1);
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
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

impl<'de> Deserialize<'de> for Reopen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "never" => Ok(Reopen::Never),
            "new_linked" => Ok(Reopen::NewLinked),
            text => Span::parse(text)
                .map(|span| Reopen::Within(span.0))
                .map_err(|e| D::Error::custom(format!("reopen is `never`, `new_linked` or a duration: {e}"))),
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Span::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

impl Span {
    fn parse(text: &str) -> Result<Self, String> {
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let unit_s = match &text[split..] {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            _ => {
                return Err(format!("{text:?} is no duration (a number and s, m, h or d)"));
            }
        };
        let count: i64 = text[..split].parse().map_err(|_| format!("{text:?} is no duration"))?;
        count.checked_mul(unit_s * 1_000_000).map(Span).ok_or_else(|| format!("{text:?} is too long"))
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
    fn scopes_and_reopening_are_read() {
        let text = BUILTIN
            .replace("scopes: {}", "scopes: {plant: ['*.Plant.example', 'plc-*-x']}")
            .replace("reopen: new_linked", "reopen: 24h");
        let file = Parameters::parse(&text).unwrap().file;
        assert_eq!(file.incident.reopen, Reopen::Within(86_400_000_000));
        let scope = |name: &'static str| file.scope_of([name].into_iter());
        assert_eq!(scope("pump.plant.example"), Some(0));
        assert_eq!(scope("plc-17-x"), Some(0));
        assert_eq!(scope("plc-17"), None);
        assert_eq!(scope("plant.example"), None);
        says(
            &BUILTIN.replace("reopen: new_linked", "reopen: soon"),
            "reopen is `never`, `new_linked` or a duration",
        );
        says(&BUILTIN.replace("kinds: [file,", "kinds: [fail,"), "unknown variant `fail`");
    }

    #[test]
    fn another_text_has_another_hash() {
        let other = BUILTIN.replace("theta: 0.40", "theta: 0.41");
        assert_ne!(Parameters::parse(&other).unwrap().hash(), Parameters::builtin().unwrap().hash());
    }
}
