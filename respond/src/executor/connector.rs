//! The executor for any HTTP API that a [`Connector`] file describes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::Executor;
use super::answer::reason;
use super::client::{ApiConfig, Client};
use crate::capability::Capability;
use crate::command::bounded;
use crate::connector::{Answer, Connector, Doing, Expression, Lookup, Scope};
use crate::error::RespondError;
use crate::verb::Verb;
use crate::work::{ExecuteError, Probe, Progress, Request, UnderWay};

/// Names of a target that are asked for; a target of more has them from many records, and any will do.
const NAMES_MAX: usize = 16;

/// Members of a list for each of which a request is sent; a longer one is no list of one target's things.
const EACH_MAX: usize = 100;

/// A longer state cannot be kept so that it can be put back.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// Does verbs over the API that a connector file describes.
pub struct ConnectorExecutor {
    connector: Connector,
    reach: Reach,
    config: BTreeMap<String, String>,
}

/// Where the API of a connector is.
#[derive(Debug, Clone)]
pub enum Addresses {
    /// At one address.
    One(ApiConfig),
    /// At several, by name: the connector picks one for each request.
    Named(BTreeMap<String, ApiConfig>),
}

#[derive(Debug)]
enum Reach {
    One(Client),
    Named(BTreeMap<String, Client>),
}

impl fmt::Debug for ConnectorExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let provider = &self.connector.provider;
        f.debug_struct("ConnectorExecutor").field("provider", provider).field("reach", &self.reach).finish()
    }
}

/// A request for a target that was found at the provider, and its state if it was asked for.
struct Found {
    scope: Scope,
    looked: Option<Value>,
}

/// What is wrong with a connector or an answer, at a step that has changed nothing.
fn unfit(at: &str) -> impl Fn(String) -> ExecuteError + '_ {
    move |problem| ExecuteError::Terminal(bounded(&format!("{at}: {problem}")))
}

/// What is wrong with an answer to a request that was sent.
fn unread(at: &str) -> impl Fn(String) -> ExecuteError + '_ {
    move |problem| ExecuteError::OutcomeUnknown(bounded(&format!("{at}: {problem}")))
}

impl ConnectorExecutor {
    /// An executor of this connector at one API, where the configuration says nothing else.
    ///
    /// # Errors
    /// As [`ConnectorExecutor::with`].
    pub fn new(connector: Connector, config: ApiConfig) -> Result<Self, RespondError> {
        Self::with(connector, Addresses::One(config), BTreeMap::new())
    }

    /// An executor of this connector, with what the configuration says in its `config`.
    ///
    /// # Errors
    /// [`RespondError::BadInput`] for an address that is none, a credential that cannot be used, one address where the
    /// connector picks by name or the other way round, and for values that the connector does not know or that are missing.
    pub fn with(
        connector: Connector,
        addresses: Addresses,
        values: BTreeMap<String, String>,
    ) -> Result<Self, RespondError> {
        let bad = |text: &str| Err(RespondError::BadInput(format!("{} {text}", connector.provider)));
        let client = |config: ApiConfig| {
            let scheme = config.scheme.clone().or_else(|| connector.scheme.clone());
            Client::new(ApiConfig { scheme, ..config })
        };
        let reach = match (addresses, &connector.address) {
            (Addresses::One(_), Some(_)) => return bad("picks one of several addresses: give each a name"),
            (Addresses::Named(_), None) => return bad("has one address: names are of no use"),
            (Addresses::Named(named), Some(_)) if named.is_empty() => return bad("has no address"),
            (Addresses::One(config), None) => Reach::One(client(config)?),
            (Addresses::Named(named), Some(_)) => {
                let client = |(name, config)| Ok((name, client(config)?));
                Reach::Named(named.into_iter().map(client).collect::<Result<_, RespondError>>()?)
            }
        };
        let config = completed(&connector, values)?;
        Ok(Self { connector, reach, config })
    }

    /// Who answers a request.
    fn client(&self, scope: &Scope) -> Result<&Client, ExecuteError> {
        match (&self.reach, &self.connector.address) {
            (Reach::One(client), _) => Ok(client),
            (Reach::Named(clients), address) => {
                let name = address.as_ref().map_or_else(|| Ok(String::new()), |address| address.text(scope));
                let name = name.map_err(unfit("address"))?;
                let missing = || {
                    let known: Vec<&str> = clients.keys().map(String::as_str).collect();
                    let provider = &self.connector.provider;
                    let text = format!("{provider} has no address {name:?}; known are {}", known.join(", "));
                    ExecuteError::Terminal(bounded(&text))
                };
                clients.get(&name).ok_or_else(missing)
            }
        }
    }

    /// What is there under a path.
    async fn read(&self, path: &str, scope: &Scope) -> Result<Option<Value>, ExecuteError> {
        let client = self.client(scope)?;
        client.read::<Value>(client.at(path)?).await
    }

    /// How the verb is done, if the provider does it as it is asked for.
    fn doing(&self, request: &Request) -> Result<&Doing, ExecuteError> {
        let missing = || ExecuteError::Terminal(format!("the executor cannot {}", request.verb));
        let doing = self.connector.verbs.get(&request.verb).ok_or_else(missing)?;
        let Request { verb, target, args, .. } = request;
        if let Some(lacks) = self.capability().lacks(*verb, target.entity.entity_type, args) {
            return Err(ExecuteError::Terminal(bounded(&format!("{} {lacks}", self.connector.provider))));
        }
        let Some(takes) = &doing.takes else { return Ok(doing) };
        let scope = Scope::of(request, &self.config).map_err(unfit("request"))?;
        if takes.holds(&scope).map_err(unfit("takes"))? {
            return Ok(doing);
        }
        let provider = &self.connector.provider;
        Err(ExecuteError::Terminal(bounded(&format!("{provider} does {} only where {takes}", request.verb))))
    }

    /// The scope of a request, its target found.
    async fn scope(&self, request: &Request) -> Result<Scope, ExecuteError> {
        let mut scope = Scope::of(request, &self.config).map_err(unfit("request"))?;
        let id = self.id_of(request, &mut scope).await?;
        scope.put("id", id).map_err(unfit("request"))?;
        Ok(scope)
    }

    /// The one thing at the provider that the target's names name.
    async fn id_of(&self, request: &Request, scope: &mut Scope) -> Result<String, ExecuteError> {
        let entity = &request.target.entity;
        let Some(lookups) = self.connector.find.get(&entity.entity_type) else {
            return Ok(entity.value.to_string());
        };
        let of_type = request.target.identifiers.iter().filter(|e| e.entity_type == entity.entity_type);
        let names: BTreeSet<&str> = of_type.chain([entity]).map(|e| &*e.value).collect();
        scope.put("names", &names).map_err(unfit("request"))?;
        for lookup in lookups {
            for name in names.iter().take(NAMES_MAX).filter(|name| lookup.takes(name)) {
                scope.put("name", name).map_err(unfit("request"))?;
                if let Some(get) = &lookup.get {
                    let path = get.render(scope).map_err(unfit("find.get"))?;
                    let Some(answer) = self.read(&path, scope).await? else { continue };
                    scope.put("answer", answer).map_err(unfit("find"))?;
                }
                match lookup.id.json(scope).map_err(unfit("find.id"))? {
                    Value::String(id) => return Ok(id),
                    Value::Array(ids) => match ids.as_slice() {
                        [] => {}
                        [Value::String(id)] => return Ok(id.clone()),
                        [_] => return Err(unfit("find.id")("gives no text".to_owned())),
                        several => {
                            let text =
                                format!("{} things are known as {name}: not acting on any", several.len());
                            return Err(ExecuteError::Terminal(text));
                        }
                    },
                    other => return Err(unfit("find.id")(format!("gives {other}, not a text or list"))),
                }
            }
        }
        Err(ExecuteError::Terminal(format!("{} knows nothing as {}", self.connector.provider, entity.value)))
    }

    async fn look(&self, doing: &Doing, request: &Request) -> Result<Found, ExecuteError> {
        let mut scope = self.scope(request).await?;
        let Some(look) = &doing.look else { return Ok(Found { scope, looked: None }) };
        let path = look.render(&scope).map_err(unfit("look"))?;
        let answer = self.read(&path, &scope).await?;
        let answer = answer.ok_or_else(|| ExecuteError::Terminal(format!("{path} is not there")))?;
        scope.put("answer", &answer).map_err(unfit("look"))?;
        Ok(Found { scope, looked: Some(answer) })
    }

    /// What was seen, with the effect as it is.
    fn seen(&self, doing: &Doing, request: &Request, found: &Found) -> Result<Probe, ExecuteError> {
        let Found { scope, looked } = found;
        let tells =
            doing.tells.as_ref().map(|tells| tells.text(scope)).transpose().map_err(unfit("tells"))?;
        let holds =
            doing.holds.as_ref().map(|holds| holds.holds(scope)).transpose().map_err(unfit("holds"))?;
        let pending = doing
            .pending
            .as_ref()
            .map(|pending| pending.holds(scope))
            .transpose()
            .map_err(unfit("pending"))?;
        // One that we may have sent and that is under way is taken for ours, so that none is sent beside it.
        let under_way = pending
            .filter(|pending| *pending)
            .map(|_| UnderWay { provider_ref: request.action.to_string(), ours: request.in_doubt });
        let keep = doing.keep.as_ref().map(|keep| keep.json(scope)).transpose().map_err(unfit("keep"))?;
        let pre_image = keep.map(|kept| kept.to_string());
        if let Some(kept) = pre_image.as_ref().filter(|kept| kept.len() > KEPT_BYTES_MAX) {
            let text = format!("its state has {} bytes, too many to be kept and put back", kept.len());
            return Err(ExecuteError::Terminal(text));
        }
        let holds = holds.unwrap_or(false);
        let evidence = match (tells, looked) {
            (Some(tells), _) => format!("{}: {tells}", self.connector.provider),
            (None, Some(_)) => {
                format!("{}: {}", self.connector.provider, if holds { "it is so" } else { "it is not so" })
            }
            (None, None) => format!("{} has no state to look at", self.connector.provider),
        };
        Ok(Probe { holds, by_us: None, under_way, evidence: bounded(&evidence), pre_image })
    }

    /// Refuses what the state of the target does not allow, so that the provider need not.
    fn may_be_done(&self, doing: &Doing, scope: &Scope) -> Result<(), ExecuteError> {
        let Some(possible) = &doing.possible else { return Ok(()) };
        if possible.holds(scope).map_err(unfit("possible"))? {
            return Ok(());
        }
        let seen = doing.tells.as_ref().map(|tells| tells.text(scope)).transpose().map_err(unfit("tells"))?;
        let seen = seen.map_or_else(String::new, |seen| format!(": {seen}"));
        let text = format!("{} does not allow it as it is now{seen}", self.connector.provider);
        Err(ExecuteError::Terminal(bounded(&text)))
    }

    /// Sends the request for one scope, where its answer then stands.
    async fn send(&self, doing: &Doing, scope: &mut Scope) -> Result<(), ExecuteError> {
        let client = self.client(scope)?;
        let path =
            doing.send.as_ref().map(|path| path.render(scope)).transpose().map_err(unfit("send.path"))?;
        let url = path.map_or_else(|| Ok(client.base()), |path| client.at(&path))?;
        let body =
            doing.body.as_ref().map(|body| body.render(scope)).transpose().map_err(unfit("send.body"))?;
        let answer = match doing.answer {
            Answer::Json => client.change(doing.method.clone(), url, body.as_ref()).await?,
            Answer::Ignored => {
                client.change_unread(doing.method.clone(), url, body.as_ref()).await?;
                Value::Null
            }
        };
        scope.put("answer", &answer).map_err(unread("answer"))?;
        let refused = doing.refused.as_ref().map(|refused| refused.holds(scope)).transpose();
        match refused.map_err(unread("refused"))? {
            Some(true) => Err(ExecuteError::Terminal(format!("refused: {}", reason(&answer)))),
            _ => Ok(()),
        }
    }
}

/// What the configuration says, with the connector's defaults for what it does not.
fn completed(
    connector: &Connector,
    mut values: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, RespondError> {
    let provider = &connector.provider;
    if let Some(unknown) = values.keys().find(|name| !connector.config.contains_key(*name)) {
        return Err(RespondError::BadInput(format!("{provider} has no value {unknown:?}")));
    }
    for (name, default) in &connector.config {
        match default {
            _ if values.contains_key(name) => {}
            Some(default) => drop(values.insert(name.clone(), default.clone())),
            None => return Err(RespondError::BadInput(format!("{provider} needs the value {name:?}"))),
        }
    }
    Ok(values)
}

impl Doing {
    /// Waits until what was done can be seen.
    async fn settled(&self) {
        tokio::time::sleep(Duration::from_secs(self.lag_s.into())).await;
    }
}

impl Lookup {
    fn takes(&self, name: &str) -> bool {
        let is_asked_for = self.names.is_empty() || self.names.iter().any(|p| p.matches(name));
        is_asked_for && !self.not.iter().any(|p| p.matches(name))
    }
}

#[async_trait]
impl Executor for ConnectorExecutor {
    fn capability(&self) -> Capability {
        let ability = |(verb, doing): (&Verb, &Doing)| {
            let mut ability = doing.ability.clone();
            // Of several addresses one is picked by an argument: there are as many values of it as addresses.
            let picks = self.connector.address.as_ref().and_then(Expression::argument);
            if let (Some(picks), Reach::Named(clients)) = (picks, &self.reach) {
                ability.only.insert(picks.to_owned(), clients.keys().cloned().collect());
            }
            (*verb, ability)
        };
        let verbs = self.connector.verbs.iter().map(ability).collect();
        Capability { provider: self.connector.provider.clone(), verbs }
    }

    /// It must be something that the provider does, and of several addresses one must be the request's.
    fn takes(&self, request: &Request) -> bool {
        let has_address = || Scope::of(request, &self.config).is_ok_and(|scope| self.client(&scope).is_ok());
        self.doing(request).is_ok() && has_address()
    }

    async fn probe(&self, request: &Request) -> Result<Probe, ExecuteError> {
        let doing = self.doing(request)?;
        let is_spent = request.attempts > doing.repeats;
        if request.in_doubt && is_spent && doing.look.is_none() && !doing.repeatable {
            let text = "it may have been done, the provider cannot be asked, and it must not be done twice";
            return Err(ExecuteError::Terminal(text.to_owned()));
        }
        if request.in_doubt {
            doing.settled().await;
        }
        self.seen(doing, request, &self.look(doing, request).await?)
    }

    async fn verify(&self, request: &Request) -> Result<Probe, ExecuteError> {
        let doing = self.doing(request)?;
        doing.settled().await;
        let probe = self.seen(doing, request, &self.look(doing, request).await?)?;
        let holds = if doing.look.is_some() { probe.holds } else { request.verb.applies() };
        Ok(Probe { holds, ..probe })
    }

    async fn execute(&self, request: &Request) -> Result<String, ExecuteError> {
        let doing = self.doing(request)?;
        // Looked at again: between probe and dispatch a name may have come to mean two things.
        let Found { mut scope, looked } = self.look(doing, request).await?;
        self.may_be_done(doing, &scope)?;
        let Some(each) = &doing.each else {
            self.send(doing, &mut scope).await?;
            let reference = doing.reference.as_ref().map(|reference| reference.text(&scope)).transpose();
            return Ok(reference.map_err(unread("reference"))?.unwrap_or_else(|| request.action.to_string()));
        };
        let list = each.json(&scope).map_err(unfit("each"))?;
        let members = list.as_array().filter(|members| members.len() <= EACH_MAX);
        let members =
            members.ok_or_else(|| unfit("each")(format!("gives no list of at most {EACH_MAX} members")))?;
        for (sent, item) in members.iter().enumerate() {
            scope.put("item", item).map_err(unfit("each"))?;
            scope.put("answer", &looked).map_err(unfit("each"))?;
            match self.send(doing, &mut scope).await {
                Ok(()) => {}
                // Part of it is done: what is left is found by looking again.
                Err(error) if sent > 0 => return Err(ExecuteError::OutcomeUnknown(error.to_string())),
                Err(error) => return Err(error),
            }
        }
        Ok(request.action.to_string())
    }

    async fn poll(&self, request: &Request, provider_ref: &str) -> Result<Progress, ExecuteError> {
        let Some(poll) = &self.doing(request)?.poll else { return Ok(Progress::Done) };
        let mut scope = self.scope(request).await?;
        scope.put("reference", provider_ref).map_err(unfit("poll"))?;
        let path = poll.get.render(&scope).map_err(unfit("poll.get"))?;
        let answer = self.read(&path, &scope).await?;
        let answer = answer.ok_or_else(|| ExecuteError::Terminal(format!("{path} is not there")))?;
        scope.put("answer", answer).map_err(unfit("poll"))?;
        let holds = |expression: &Expression| expression.holds(&scope).map_err(unfit("poll"));
        if poll.failed.as_ref().map(holds).transpose()? == Some(true) {
            return Ok(Progress::Failed(format!("{} says that it failed", self.connector.provider)));
        }
        if poll.cancelled.as_ref().map(holds).transpose()? == Some(true) {
            return Ok(Progress::Cancelled);
        }
        Ok(if holds(&poll.done)? { Progress::Done } else { Progress::Running })
    }

    async fn cancel(&self, request: &Request, provider_ref: &str) -> Result<bool, ExecuteError> {
        let Some(cancel) = &self.doing(request)?.cancel else { return Ok(false) };
        let mut scope = self.scope(request).await?;
        scope.put("reference", provider_ref).map_err(unfit("cancel"))?;
        let client = self.client(&scope)?;
        let url = client.at(&cancel.path.render(&scope).map_err(unfit("cancel.path"))?)?;
        let body = cancel.body.as_ref().map(|body| body.render(&scope)).transpose();
        let body = body.map_err(unfit("cancel.body"))?;
        let answer = match client.change(cancel.method.clone(), url, body.as_ref()).await {
            Ok(answer) => answer,
            // Refused, so it has ended: the next poll says how.
            Err(ExecuteError::Terminal(_)) => return Ok(false),
            Err(error) => return Err(error),
        };
        let Some(done) = &cancel.done else { return Ok(true) };
        scope.put("answer", answer).map_err(unread("cancel"))?;
        done.holds(&scope).map_err(unread("cancel.done"))
    }
}
