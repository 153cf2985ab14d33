//! Work for playbooks: lease a step, keep it, report what came of it.
//!
//! A lease has a fence that rises: who reports with an old one is refused, since the step may be at another by then. It
//! also has a random token, which is given out once, with the step, and whose hash alone is kept: who reports without it is
//! not the one who leased, and whoever comes with it twice, or late, is told so. What
//! is leased is on disk before it is given out, so that a crash between lease and report ends in a probe, never in a
//! request sent twice.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Path, State};
use event::{ActionId, Target, Time};
use respond::{ExecuteError, Probe, Progress, Reply, Report, Seal, Step, Verb, Work};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ApiState;
use super::body::Body;
use super::page::TenantParam;
use super::params::Params;
use super::problem::Problem;

/// A request for work waits no longer.
const WAIT_S_MAX: u32 = 30;
/// While it waits, work is looked for at this pace.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Longer texts of a report are cut or refused.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// What a playbook can do.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct LeaseRequest {
    /// Verbs, of those in `respond.pulled`; all of them where none is named
    #[serde(default)]
    pub(crate) verbs: Vec<String>,
    /// How long to wait for work, in seconds, at most 30
    #[serde(default)]
    #[schema(maximum = 30)]
    pub(crate) wait_s: u32,
}

/// A step to do, if there is one.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct LeaseResponse {
    /// The step
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) work: Option<WorkDocument>,
}

/// One step of one action.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct WorkDocument {
    /// The action
    pub(crate) action: String,
    /// Of this lease; every report names it
    pub(crate) fence: u64,
    /// Of this lease, and secret; every report and heartbeat shows it
    pub(crate) token: CallbackToken,
    /// When the step may go to another
    pub(crate) lease_until: Time,
    /// `probe`: report `probed`. `dispatch`: send the request once, report `accepted`. `poll`: report `pending`, `running`,
    /// `done` or `not_done`. `verify`: report `probed`. `cancel`: report `cancelled`. What fails is reported as `failed`
    pub(crate) step: String,
    /// What to do
    pub(crate) verb: String,
    /// To what
    pub(crate) target: Target,
    /// Arguments of the verb
    pub(crate) args: std::collections::BTreeMap<String, String>,
    /// The incident behind it
    pub(crate) incident: String,
    /// What the incident was called when the action was proposed
    pub(crate) title: String,
    /// Text for the provider, by which the request is found again
    pub(crate) comment: String,
    /// The provider's reference, once it is accepted
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) provider_ref: Option<String>,
    /// Whether an earlier request of the action may have been carried out
    pub(crate) in_doubt: bool,
    /// Of what takes an effect back: what was reported as `pre_image` when it was brought about
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(crate) kept: Option<String>,
}

/// What proves that whoever reports is the one who leased; never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct CallbackToken(String);

impl CallbackToken {
    /// 256 random bits.
    fn random() -> Self {
        let bytes: [u8; 32] = rand::random();
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn seal(&self) -> Seal {
        Seal::of(&self.0)
    }
}

impl fmt::Debug for CallbackToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallbackToken")
    }
}

impl WorkDocument {
    fn of(work: Work, token: CallbackToken) -> Self {
        let Work { fence, lease_until, step, request, .. } = work;
        let step = match step {
            Step::Probe => "probe",
            Step::Dispatch => "dispatch",
            Step::Poll => "poll",
            Step::Verify => "verify",
            Step::Cancel => "cancel",
        };
        Self {
            action: request.action.to_string(),
            fence,
            token,
            lease_until,
            step: step.to_owned(),
            verb: request.verb.to_string(),
            target: request.target,
            args: request.args,
            incident: request.incident.to_string(),
            title: request.title,
            comment: request.comment,
            provider_ref: request.provider_ref,
            in_doubt: request.in_doubt,
            kept: request.kept,
        }
    }
}

/// Lease the next step of an action that playbooks do
#[utoipa::path(post, path = "/api/v1/leases", operation_id = "lease_work", tag = "leases",
    params(TenantParam), request_body = LeaseRequest,
    responses((status = 200, description = "A step, or none while nothing waits", body = LeaseResponse),
        (status = 422, description = "There is no such verb, or the wait is too long")))]
pub(crate) async fn lease(
    State(api): State<ApiState>,
    Params((tenant,)): Params<(TenantParam,)>,
    Body(request): Body<LeaseRequest>,
) -> Result<Json<LeaseResponse>, Problem> {
    let wrong = |text: String| Problem::new(axum::http::StatusCode::UNPROCESSABLE_ENTITY, text);
    if request.wait_s > WAIT_S_MAX {
        return Err(wrong(format!("wait_s is {}, at most {WAIT_S_MAX}", request.wait_s)));
    }
    let known =
        |name: &String| Verb::from_name(name).ok_or_else(|| wrong(format!("there is no verb {name:?}")));
    let verbs: BTreeSet<Verb> = request.verbs.iter().map(known).collect::<Result<_, _>>()?;
    let token = CallbackToken::random();
    let until = Instant::now() + Duration::from_secs(u64::from(request.wait_s));
    loop {
        let work = api.engine.lease(tenant.id(), verbs.clone(), token.seal()).await?;
        if work.is_some() || Instant::now() >= until || api.stopping.is_cancelled() {
            return Ok(Json(LeaseResponse { work: work.map(|work| WorkDocument::of(work, token)) }));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Whose lease it is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct HeartbeatRequest {
    /// Of the lease
    pub(crate) fence: u64,
    /// Of the lease
    pub(crate) token: CallbackToken,
}

/// How long a lease lasts.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct HeartbeatResponse {
    /// When the step may go to another
    pub(crate) lease_until: Time,
}

/// Keep a step for longer
#[utoipa::path(post, path = "/api/v1/leases/{action}/heartbeat", operation_id = "keep_work", tag = "leases",
    params(("action" = String, Path)), request_body = HeartbeatRequest,
    responses((status = 200, description = "Until when the step is kept", body = HeartbeatResponse),
        (status = 403, description = "The token is not that of the lease"),
        (status = 409, description = "The lease is over, or another's")))]
pub(crate) async fn heartbeat(
    State(api): State<ApiState>,
    Path(action): Path<String>,
    Body(request): Body<HeartbeatRequest>,
) -> Result<Json<HeartbeatResponse>, Problem> {
    let HeartbeatRequest { fence, token } = request;
    let lease_until = api.engine.heartbeat(ActionId::new(action), fence, token.seal()).await?;
    Ok(Json(HeartbeatResponse { lease_until }))
}

/// What came of a step.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Outcome {
    /// To `probe` and `verify`: the state of the target
    Probed {
        /// Whether the effect holds; for what is done once, whether it was done
        holds: bool,
        /// Whether a request of this engine brought that about, where the provider can tell
        #[serde(default)]
        by_us: Option<bool>,
        /// What was seen, for people
        #[serde(default)]
        evidence: String,
        /// What must be put back when the act is undone
        #[serde(default)]
        pre_image: Option<String>,
    },
    /// To `dispatch`: the request was taken
    Accepted {
        /// The provider's reference of it
        provider_ref: String,
    },
    /// To `poll`: not begun
    Pending,
    /// To `poll`: begun
    Running,
    /// To `poll`: done
    Done,
    /// To `poll`: not done, and it will not be
    NotDone {
        /// Why
        reason: String,
    },
    /// To `cancel`
    Cancelled {
        /// Whether it was in time
        in_time: bool,
    },
    /// The step gave no answer
    Failed {
        /// Why
        reason: String,
        /// Whether to go on: `terminal` repeating it gives the same, `retryable` certainly nothing was done, `unknown` it may
        /// have been done
        then: Then,
        /// When to try again, in seconds
        #[serde(default)]
        after_s: Option<u32>,
    },
}

/// What may be done after a failure.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Then {
    /// Nothing: a person must mend something
    Terminal,
    /// The same again
    Retryable,
    /// A probe, before anything else
    Unknown,
}

impl Outcome {
    /// For the responder; an error is a text that is too long.
    fn read(self) -> Result<Result<Reply, ExecuteError>, String> {
        let fits = |text: &str| {
            let problem = || format!("a text of the report has more than {TEXT_BYTES_MAX} bytes");
            (text.len() <= TEXT_BYTES_MAX).then_some(()).ok_or_else(problem)
        };
        Ok(match self {
            Outcome::Probed { holds, by_us, evidence, pre_image } => {
                fits(pre_image.as_deref().unwrap_or_default())?;
                let evidence = evidence.chars().filter(|c| !c.is_control()).take(300).collect();
                Ok(Reply::Probed(Probe { holds, by_us, under_way: None, evidence, pre_image }))
            }
            Outcome::Accepted { provider_ref } => {
                fits(&provider_ref)?;
                Ok(Reply::Accepted { provider_ref })
            }
            Outcome::Pending => Ok(Reply::Progress(Progress::Pending)),
            Outcome::Running => Ok(Reply::Progress(Progress::Running)),
            Outcome::Done => Ok(Reply::Progress(Progress::Done)),
            Outcome::NotDone { reason } => Ok(Reply::Progress(Progress::Failed(reason))),
            Outcome::Cancelled { in_time } => Ok(Reply::Cancelled { in_time }),
            Outcome::Failed { reason, then, after_s } => Err(match then {
                Then::Terminal => ExecuteError::Terminal(reason),
                Then::Retryable => ExecuteError::Retryable { message: reason, after_s },
                Then::Unknown => ExecuteError::OutcomeUnknown(reason),
            }),
        })
    }
}

/// A playbook's word on a step.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReportRequest {
    /// Of the lease
    pub(crate) fence: u64,
    /// Of the lease; it is good for one report
    pub(crate) token: CallbackToken,
    /// What came of it
    pub(crate) outcome: Outcome,
}

/// Report what came of a step
#[utoipa::path(post, path = "/api/v1/leases/{action}/report", operation_id = "report_work", tag = "leases",
    params(("action" = String, Path)), request_body = ReportRequest,
    responses((status = 200, description = "It is stored; the next step may be leased", body = LeaseResponse),
        (status = 403, description = "The token is not that of the lease: the report is dropped"),
        (status = 409, description = "The lease is over, its token was used, or it is another's: the report is dropped"),
        (status = 422, description = "The report does not fit")))]
pub(crate) async fn report(
    State(api): State<ApiState>,
    Path(action): Path<String>,
    Body(request): Body<ReportRequest>,
) -> Result<Json<LeaseResponse>, Problem> {
    let wrong = |text: String| Problem::new(axum::http::StatusCode::UNPROCESSABLE_ENTITY, text);
    let outcome = request.outcome.read().map_err(wrong)?;
    let report = Report { action: ActionId::new(action), fence: request.fence, outcome };
    api.engine.report(report, request.token.seal()).await?;
    Ok(Json(LeaseResponse { work: None }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_are_not_shown() {
        let (a, b) = (CallbackToken::random(), CallbackToken::random());
        assert!(a != b && a.seal() != b.seal());
        let again = serde_json::to_string(&a).unwrap();
        assert_eq!((again.len(), serde_json::from_str::<CallbackToken>(&again).unwrap()), (66, a.clone()));
        let request = HeartbeatRequest { fence: 1, token: a.clone() };
        assert!(!format!("{request:?} {:?}", a.seal()).contains(&a.0));
    }
}
