//! Connector files: how verbs are done over one HTTP API. Format and examples: `respond/connectors/README.md`.
//!
//! A file is read and compiled once; [`Scope`] holds the values that its expressions see. Nothing here sends anything:
//! that is [`ConnectorExecutor`](crate::ConnectorExecutor)'s part.

mod scope;
mod template;

use std::collections::{BTreeMap, BTreeSet};

use event::EntityType;
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use crate::capability::{Ability, Arguments};
use crate::executor::is_scheme;
use crate::pattern::Pattern;
use crate::verb::{Part, Values, Verb};
use scope::Names;
pub(crate) use scope::Scope;
pub(crate) use template::{Body, Expression, Path};

/// The format this program reads.
const VERSION: u32 = 1;

/// A step of a command must end within its lease, the requests after the wait included.
const LAG_S_MAX: u32 = 15;

/// More than this is no connector file.
const FILE_BYTES_MAX: usize = 1 << 20;

/// A compiled connector file.
#[derive(Debug, Clone)]
pub struct Connector {
    /// Name of the provider.
    pub provider: String,
    /// What it is, for people.
    pub title: String,
    /// Scheme under which a token that stays goes out, where it is not `Bearer`.
    pub(crate) scheme: Option<String>,
    /// What the configuration may say, with its default; none where it must.
    pub(crate) config: BTreeMap<String, Option<String>>,
    /// At which of several configured addresses a request is done; without it there is one.
    pub(crate) address: Option<Expression>,
    pub(crate) find: BTreeMap<EntityType, Vec<Lookup>>,
    pub(crate) verbs: BTreeMap<Verb, Doing>,
}

/// What is wrong with a connector file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {place}{problem}")]
pub struct ConnectorError {
    /// The file.
    pub file: String,
    /// `verbs.user.disable.holds: `, or nothing.
    pub place: String,
    /// What.
    pub problem: String,
}

/// One way to find the provider's own id of a target.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    /// Names that may be asked for in this way; all where there are none.
    pub(crate) names: Vec<Pattern>,
    /// Names that may not.
    pub(crate) not: Vec<Pattern>,
    /// Asks for them; where it is left out, nothing is asked.
    pub(crate) get: Option<Path>,
    /// The id, or a list of ids of which there must be one.
    pub(crate) id: Expression,
}

/// How a verb is done.
#[derive(Debug, Clone)]
pub(crate) struct Doing {
    /// How far the provider does it at all: what is known before it is asked for.
    pub(crate) ability: Ability,
    /// Whether the provider does it as it is asked for, beyond that.
    pub(crate) takes: Option<Expression>,
    /// Asks for the state of the target.
    pub(crate) look: Option<Path>,
    /// By how many seconds what is seen there may lag behind what was done.
    pub(crate) lag_s: u32,
    /// Whether the verb's effect holds, or, where it is done once, whether it was done.
    pub(crate) holds: Option<Expression>,
    /// Whether a request for it is under way.
    pub(crate) pending: Option<Expression>,
    /// What was seen, in words.
    pub(crate) tells: Option<Expression>,
    /// Whether what was seen lets it be done at all.
    pub(crate) possible: Option<Expression>,
    /// What must be kept so that it can be put back.
    pub(crate) keep: Option<Expression>,
    /// The requests are sent for each member of this list, as `item`.
    pub(crate) each: Option<Expression>,
    pub(crate) method: Method,
    /// Where the request goes; the address itself where there is none.
    pub(crate) send: Option<Path>,
    pub(crate) body: Option<Body>,
    /// Whether an answer of success says that it was not done after all.
    pub(crate) refused: Option<Expression>,
    pub(crate) answer: Answer,
    /// The provider's reference of the request.
    pub(crate) reference: Option<Expression>,
    /// How to ask after a request that is not done when it is answered.
    pub(crate) poll: Option<Poll>,
    /// How to stop a request that is not done.
    pub(crate) cancel: Option<Cancel>,
    /// Doing it twice is as good as doing it once.
    pub(crate) repeatable: bool,
    /// How often it may be done again where nobody knows whether it was done.
    pub(crate) repeats: u32,
}

/// What an answer to a request is good for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// JSON, to be read.
    #[default]
    Json,
    /// Its status says everything.
    Ignored,
}

/// How to ask after a request.
#[derive(Debug, Clone)]
pub(crate) struct Poll {
    pub(crate) get: Path,
    pub(crate) done: Expression,
    pub(crate) failed: Option<Expression>,
    /// Whether somebody has cancelled it at the provider.
    pub(crate) cancelled: Option<Expression>,
}

/// How to stop a request.
#[derive(Debug, Clone)]
pub(crate) struct Cancel {
    pub(crate) method: Method,
    pub(crate) path: Path,
    pub(crate) body: Option<Body>,
    /// Whether an answer of success says that it was in time; where it is left out, every one does.
    pub(crate) done: Option<Expression>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    provider: String,
    title: String,
    #[serde(default)]
    scheme: Option<String>,
    #[serde(default)]
    config: BTreeMap<String, Option<String>>,
    #[serde(default)]
    address: Option<String>,
    #[serde(default)]
    find: BTreeMap<EntityType, Vec<LookupDocument>>,
    verbs: BTreeMap<String, DoingDocument>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LookupDocument {
    #[serde(default)]
    names: Vec<Pattern>,
    #[serde(default)]
    not: Vec<Pattern>,
    #[serde(default)]
    get: Option<String>,
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DoingDocument {
    #[serde(default)]
    targets: BTreeSet<EntityType>,
    #[serde(default)]
    lacks: Arguments,
    #[serde(default)]
    takes: Option<String>,
    #[serde(default)]
    look: Option<String>,
    #[serde(default)]
    lag_s: u32,
    #[serde(default)]
    holds: Option<String>,
    #[serde(default)]
    pending: Option<String>,
    #[serde(default)]
    tells: Option<String>,
    #[serde(default)]
    possible: Option<String>,
    #[serde(default)]
    keep: Option<String>,
    #[serde(default)]
    each: Option<String>,
    send: SendDocument,
    #[serde(default)]
    refused: Option<String>,
    #[serde(default)]
    reference: Option<String>,
    #[serde(default)]
    poll: Option<PollDocument>,
    #[serde(default)]
    cancel: Option<CancelDocument>,
    #[serde(default)]
    repeatable: bool,
    #[serde(default)]
    repeats: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SendDocument {
    method: String,
    #[serde(default)]
    path: Option<String>,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    answer: Answer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PollDocument {
    get: String,
    done: String,
    #[serde(default)]
    failed: Option<String>,
    #[serde(default)]
    cancelled: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CancelDocument {
    method: String,
    path: String,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    done: Option<String>,
}

impl Connector {
    /// Reads and compiles a file.
    ///
    /// # Errors
    /// The first thing wrong in it, with its place.
    pub fn parse(file: &str, text: &str) -> Result<Self, ConnectorError> {
        let wrong = |place: String, problem: String| ConnectorError { file: file.to_owned(), place, problem };
        if text.len() > FILE_BYTES_MAX {
            return Err(wrong(String::new(), format!("has {} bytes, at most {FILE_BYTES_MAX}", text.len())));
        }
        let document: Document =
            serde_yaml_ng::from_str(text).map_err(|e| wrong(String::new(), e.to_string()))?;
        if document.version != VERSION {
            let text = format!("version {} is not {VERSION}, the one this program reads", document.version);
            return Err(wrong(String::new(), text));
        }
        if document.scheme.as_deref().is_some_and(|scheme| !is_scheme(scheme)) {
            let problem = "is no scheme of an Authorization header".to_owned();
            return Err(wrong("scheme: ".to_owned(), problem));
        }
        let address =
            document.address.as_deref().map(|source| Expression::compile(source, Names::OF_REQUEST));
        let mut connector = Connector {
            provider: document.provider,
            title: document.title,
            scheme: document.scheme,
            config: document.config,
            address: address.transpose().map_err(|problem| wrong("address: ".to_owned(), problem))?,
            find: BTreeMap::new(),
            verbs: BTreeMap::new(),
        };
        for (entity_type, lookups) in document.find {
            let at =
                |(place, problem): (String, String)| wrong(format!("find.{entity_type}.{place}: "), problem);
            let lookups = lookups
                .into_iter()
                .enumerate()
                .map(|(n, l)| l.compile().map_err(|(place, problem)| at((format!("{n}.{place}"), problem))));
            connector.find.insert(entity_type, lookups.collect::<Result<_, _>>()?);
        }
        for (name, doing) in document.verbs {
            let at = |(place, problem): (String, String)| wrong(format!("verbs.{name}.{place}: "), problem);
            let unknown = || wrong(format!("verbs.{name}: "), "there is no such verb".to_owned());
            let verb = Verb::from_name(&name).ok_or_else(unknown)?;
            connector.verbs.insert(verb, doing.compile(verb).map_err(at)?);
        }
        connector.check().map_err(|(place, problem)| wrong(format!("verbs.{place}: "), problem))?;
        Ok(connector)
    }

    /// The shipped connectors, as file names and texts.
    pub fn builtin() -> [(&'static str, &'static str); 8] {
        [
            ("chat_webhook.yml", include_str!("../../connectors/chat_webhook.yml")),
            ("crowdstrike_falcon.yml", include_str!("../../connectors/crowdstrike_falcon.yml")),
            ("jira_cloud.yml", include_str!("../../connectors/jira_cloud.yml")),
            ("microsoft_graph.yml", include_str!("../../connectors/microsoft_graph.yml")),
            ("okta.yml", include_str!("../../connectors/okta.yml")),
            ("playbook_webhook.yml", include_str!("../../connectors/playbook_webhook.yml")),
            ("servicenow.yml", include_str!("../../connectors/servicenow.yml")),
            ("teams_webhook.yml", include_str!("../../connectors/teams_webhook.yml")),
        ]
    }

    /// The verbs that it does.
    pub fn verbs(&self) -> impl Iterator<Item = Verb> {
        self.verbs.keys().copied()
    }

    /// An effect that it brings about, it must be able to end.
    fn check(&self) -> Result<(), (String, String)> {
        for verb in self.verbs.keys() {
            let inverse = verb.inverse().filter(|_| verb.holds());
            if let Some(missing) = inverse.filter(|inverse| !self.verbs.contains_key(inverse)) {
                let problem = format!("its effect could not be taken back: {missing} is missing");
                return Err((verb.to_string(), problem));
            }
        }
        Ok(())
    }
}

/// A place and a problem.
type Problem = (String, String);

fn in_place<T>(place: &str, outcome: Result<T, String>) -> Result<T, Problem> {
    outcome.map_err(|problem| (place.to_owned(), problem))
}

impl LookupDocument {
    fn compile(self) -> Result<Lookup, Problem> {
        let get = self.get.map(|path| Path::compile(&path, Names::OF_LOOKUP)).transpose();
        let get = in_place("get", get)?;
        let found = if get.is_some() { Names::OF_FOUND } else { Names::OF_LOOKUP };
        Ok(Lookup {
            id: in_place("id", Expression::compile(&self.id, found))?,
            get,
            names: self.names,
            not: self.not,
        })
    }
}

impl DoingDocument {
    fn compile(self, verb: Verb) -> Result<Doing, Problem> {
        let seen = |place: &str, source: &Option<String>| {
            let compiled = source.as_deref().map(|source| Expression::compile(source, Names::OF_LOOK));
            in_place(place, compiled.transpose())
        };
        if self.look.is_some() != self.holds.is_some() {
            return Err(("look".to_owned(), "look and holds need each other".to_owned()));
        }
        if self.look.is_none() && !matches!(verb.spec().part, Part::Once) {
            let problem = "without look and holds nobody knows whether the effect holds";
            return Err(("look".to_owned(), problem.to_owned()));
        }
        if self.possible.is_some() && self.look.is_none() {
            return Err(("possible".to_owned(), "it is judged by what look shows: it needs look".to_owned()));
        }
        if self.lag_s > 0 && self.look.is_none() || self.lag_s > LAG_S_MAX {
            let problem = format!("{} s: it needs look, and may be {LAG_S_MAX} s at most", self.lag_s);
            return Err(("lag_s".to_owned(), problem));
        }
        if self.repeats > 0 && (self.look.is_some() || self.repeatable) {
            let problem = "what can be looked at is never in doubt, and what is repeatable needs no bound";
            return Err(("repeats".to_owned(), problem.to_owned()));
        }
        if self.send.answer == Answer::Ignored && (self.reference.is_some() || self.poll.is_some()) {
            let problem = "reference and poll need an answer that is read";
            return Err(("send.answer".to_owned(), problem.to_owned()));
        }
        if self.each.is_some() && !self.repeatable {
            let problem =
                "several requests may be carried out in part: only what is repeatable may be sent so";
            return Err(("each".to_owned(), problem.to_owned()));
        }
        if self.pending.is_some() && (self.look.is_none() || self.poll.is_none() || self.reference.is_some())
        {
            let problem = "what is under way is seen by look and asked after by poll, without a reference: that \
                           of a request whose answer was lost is not known";
            return Err(("pending".to_owned(), problem.to_owned()));
        }
        let sent = match (&self.each, &self.look) {
            (Some(_), _) => Names::OF_ITEM,
            (None, Some(_)) => Names::OF_LOOK,
            (None, None) => Names::OF_TARGET,
        };
        if self.cancel.is_some() && self.poll.is_none() {
            let problem = "without poll a request is done when it is answered: there is nothing to cancel";
            return Err(("cancel".to_owned(), problem.to_owned()));
        }
        let ability = ability(verb, self.targets, self.lacks, self.cancel.is_some())?;
        let method = in_place("send.method", method(&self.send.method))?;
        let look = self.look.as_deref().map(|path| Path::compile(path, Names::OF_TARGET)).transpose();
        let send = self.send.path.as_deref().map(|path| Path::compile(path, sent)).transpose();
        let body = self.send.body.map(|body| Body::compile(body, sent)).transpose();
        let takes = self.takes.map(|source| Expression::compile(&source, Names::OF_REQUEST)).transpose();
        let refused = self.refused.map(|source| Expression::compile(&source, Names::OF_ANSWER)).transpose();
        let reference =
            self.reference.map(|source| Expression::compile(&source, Names::OF_ANSWER)).transpose();
        Ok(Doing {
            ability,
            takes: in_place("takes", takes)?,
            look: in_place("look", look)?,
            lag_s: self.lag_s,
            holds: seen("holds", &self.holds)?,
            pending: seen("pending", &self.pending)?,
            tells: seen("tells", &self.tells)?,
            possible: seen("possible", &self.possible)?,
            keep: seen("keep", &self.keep)?,
            each: seen("each", &self.each)?,
            method,
            send: in_place("send.path", send)?,
            body: in_place("send.body", body)?,
            refused: in_place("refused", refused)?,
            answer: self.send.answer,
            reference: in_place("reference", reference)?,
            poll: self.poll.map(PollDocument::compile).transpose()?,
            cancel: self.cancel.map(CancelDocument::compile).transpose()?,
            repeatable: self.repeatable,
            repeats: self.repeats,
        })
    }
}

impl PollDocument {
    fn compile(self) -> Result<Poll, Problem> {
        let optional = |place: &str, source: Option<String>| {
            let compiled = source.map(|source| Expression::compile(&source, Names::OF_LOOK));
            in_place(place, compiled.transpose())
        };
        Ok(Poll {
            get: in_place("poll.get", Path::compile(&self.get, Names::OF_POLL))?,
            done: in_place("poll.done", Expression::compile(&self.done, Names::OF_LOOK))?,
            failed: optional("poll.failed", self.failed)?,
            cancelled: optional("poll.cancelled", self.cancelled)?,
        })
    }
}

impl CancelDocument {
    fn compile(self) -> Result<Cancel, Problem> {
        let body = self.body.map(|body| Body::compile(body, Names::OF_POLL)).transpose();
        let done = self.done.map(|source| Expression::compile(&source, Names::OF_CANCEL)).transpose();
        Ok(Cancel {
            method: in_place("cancel.method", method(&self.method))?,
            path: in_place("cancel.path", Path::compile(&self.path, Names::OF_POLL))?,
            body: in_place("cancel.body", body)?,
            done: in_place("cancel.done", done)?,
        })
    }
}

/// A method that changes something.
fn method(name: &str) -> Result<Method, String> {
    match name {
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "PATCH" => Ok(Method::PATCH),
        "DELETE" => Ok(Method::DELETE),
        other => Err(format!("{other:?} is none of POST, PUT, PATCH, DELETE")),
    }
}

/// What is said of a verb's targets and arguments, which must be there to be lacking.
fn ability(
    verb: Verb,
    targets: BTreeSet<EntityType>,
    lacks: Arguments,
    cancellable: bool,
) -> Result<Ability, Problem> {
    if let Some(target) = targets.iter().find(|target| !verb.takes(**target)) {
        return Err(("targets".to_owned(), format!("{verb} is never done to a {target}")));
    }
    for (name, values) in &lacks {
        let problem = |text: String| Err((format!("lacks.{name}"), text));
        let argument = verb.spec().arguments.iter().find(|argument| argument.name == name);
        let Some(Values::Choice(known)) = argument.map(|argument| argument.values) else {
            return problem(format!("{verb} has no such argument with a choice of values"));
        };
        if let Some(unknown) = values.iter().find(|value| !known.contains(&value.as_str())) {
            return problem(format!("{unknown:?} is no value of it; these are {}", known.join(", ")));
        }
        if values.len() == known.len() {
            return problem(format!("no value is left: leave {verb} out"));
        }
    }
    Ok(Ability { targets, lacks, only: Arguments::new(), cancellable })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_connectors_compile() {
        for (file, text) in Connector::builtin() {
            let connector = Connector::parse(file, text).unwrap();
            assert!(connector.verbs().count() > 0, "{file}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let good = "version: 1\nprovider: p\ntitle: P\nverbs:\n  user.revoke_sessions:\n    \
                    send: {method: POST, path: '/u/{id}/revoke'}\n";
        assert!(Connector::parse("c.yml", good).is_ok());
        let disable = "  user.disable:\n    look: '/u/{id}'\n    holds: answer.off\n    \
                       send: {method: PATCH, path: '/u/{id}', body: {off: true}}\n";
        let scan = good.replace("user.revoke_sessions", "host.scan") + "    lacks: {depth: [full]}\n";
        assert!(Connector::parse("c.yml", &scan).is_ok());
        let cases = [
            good.replace("version: 1", "version: 2"),
            good.replace("title", "titel"),
            good.replace("user.revoke_sessions", "user.vanish"),
            good.replace("{id}", "{idd}"),
            good.replace("{id}", "{id"),
            good.replace("{id}", "{answer.id}"),
            good.replace("'/u", "'u"),
            good.replace("POST", "GET"),
            format!("{good}{disable}"),
            format!("{good}{}", disable.replace("    holds: answer.off\n", "")),
            format!("{good}    each: answer.list\n"),
            format!("{good}    reference: 'answer.('\n"),
            format!("scheme: 'a b'\n{good}"),
            format!("{good}    takes: id == 'x'\n"),
            format!("{good}    refused: item.wrong\n"),
            format!("{good}    pending: answer.busy\n"),
            format!("{good}find:\n  user:\n    - id: answer.id\n"),
            format!(
                "{good}{disable}    pending: answer.busy\n    reference: answer.job\n    poll: {{get: /u, done: 'true'}}\n"
            ),
            good.replace("verbs:", "address: answer.channel\nverbs:"),
            good.replace("verbs:", "config: {link: [a]}\nverbs:"),
            good.replace("POST,", "POST, answer: text,"),
            format!("{}    reference: answer.id\n", good.replace("POST,", "POST, answer: ignored,")),
            format!("{good}    possible: id != 'x'\n"),
            format!("{good}    lag_s: 5\n"),
            format!("{good}    look: '/u/{{id}}'\n    holds: answer.off\n    lag_s: 16\n"),
            format!("{good}    repeatable: true\n    repeats: 1\n"),
            format!("{good}    look: '/u/{{id}}'\n    holds: answer.off\n    repeats: 1\n"),
            format!("{good}    targets: [device]\n"),
            format!("{good}    lacks: {{mode: [block]}}\n"),
            scan.replace("[full]", "[deep]"),
            scan.replace("[full]", "[full, quick]"),
            format!("{good}    cancel: {{method: POST, path: '/u/{{id}}/cancel'}}\n"),
            format!("{scan}    poll: {{get: /s, done: 'true'}}\n    cancel: {{method: GET, path: /s}}\n"),
        ];
        let errors: Vec<String> =
            cases.iter().map(|text| Connector::parse("c.yml", text).unwrap_err().to_string()).collect();
        insta::assert_snapshot!(errors.join("\n"));
    }
}
