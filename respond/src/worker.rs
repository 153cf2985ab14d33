//! Workers carry steps from the responder to an executor and reports back.

use std::sync::Arc;
use std::time::Duration;

use event::Time;
use tokio::sync::mpsc;

use crate::command::bounded;
use crate::error::RespondError;
use crate::executor::Executor;
use crate::responder::{ActionChange, LEASE, Responder};
use crate::work::{ExecuteError, Reply, Report, Step, Work};

/// Ends a step before its lease does, so that a slow provider never meets a second worker.
const STEP_WITHIN: Duration = Duration::from_micros(LEASE.micros() as u64 * 3 / 4);

/// Does steps with executors. Holds no state of its own: it may be dropped and made again at any time.
#[derive(Clone)]
pub struct Worker {
    executors: Arc<[Arc<dyn Executor>]>,
}

impl Worker {
    /// A worker for these executors: of several that can do what is asked for, the first does it.
    pub fn new(executors: impl IntoIterator<Item = Arc<dyn Executor>>) -> Self {
        Worker { executors: executors.into_iter().collect() }
    }

    /// Does one step. The changes that came with it must be stored by now.
    pub async fn perform(&self, work: &Work) -> Report {
        let outcome = match tokio::time::timeout(STEP_WITHIN, self.step(work)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                Err(ExecuteError::OutcomeUnknown(format!("no answer within {} s", STEP_WITHIN.as_secs())))
            }
        };
        Report { action: work.request.action.clone(), fence: work.fence, outcome }
    }

    async fn step(&self, work: &Work) -> Result<Reply, ExecuteError> {
        let request = &work.request;
        let takes = |executor: &&Arc<dyn Executor>| executor.takes(request);
        let executor = self.executors.iter().find(takes).ok_or_else(|| {
            let args: Vec<String> = request.args.iter().map(|(k, v)| format!(" with {k} {v:?}")).collect();
            let text = format!("no configured provider can {}{}", request.verb, args.concat());
            ExecuteError::Terminal(bounded(&text))
        })?;
        let is_new = match work.step {
            Step::Probe => request.verb.applies() && !request.in_doubt,
            Step::Dispatch => request.verb.applies(),
            Step::Poll | Step::Verify | Step::Cancel => false,
        };
        if is_new && let Some(stopped) = work.stopped.get(&executor.capability().provider) {
            let message = format!("connector {stopped} is stopped");
            return Err(ExecuteError::Retryable { message, after_s: None });
        }
        let provider_ref = || {
            let missing = || ExecuteError::Terminal("the action has no provider reference".to_owned());
            request.provider_ref.as_deref().ok_or_else(missing)
        };
        match work.step {
            Step::Probe => Ok(Reply::Probed(executor.probe(request).await?)),
            Step::Verify => Ok(Reply::Probed(executor.verify(request).await?)),
            Step::Dispatch => Ok(Reply::Accepted { provider_ref: executor.execute(request).await? }),
            Step::Poll => Ok(Reply::Progress(executor.poll(request, provider_ref()?).await?)),
            Step::Cancel => {
                Ok(Reply::Cancelled { in_time: executor.cancel(request, provider_ref()?).await? })
            }
        }
    }

    /// Takes work from one channel and reports on another until either closes. Run several for concurrency;
    /// the channels bound what is under way.
    pub async fn run(self, mut work: mpsc::Receiver<Work>, reports: mpsc::Sender<Report>) {
        while let Some(work) = work.recv().await {
            let report = self.perform(&work).await;
            if reports.send(report).await.is_err() {
                return;
            }
        }
    }
}

/// Leases one step, stores its changes, does it, and stores what came of it; false where there was nothing to
/// do. For one owner that drives a responder alone; where the responder must not wait for the network, use
/// [`Worker::run`] with [`Responder::next_work`] and [`Responder::report`].
///
/// # Errors
/// [`RespondError::NotStored`] where `persist` failed: nothing was sent after that, and the responder must be
/// restored from storage.
pub async fn drive(
    responder: &mut Responder,
    worker: &Worker,
    mut now: impl FnMut() -> Time,
    persist: &mut impl AsyncFnMut(Vec<ActionChange>) -> Result<(), RespondError>,
) -> Result<bool, RespondError> {
    let Some(leased) = responder.next_work(now()) else { return Ok(false) };
    if !leased.changes.is_empty() {
        persist(leased.changes).await?;
    }
    let report = worker.perform(&leased.work).await;
    let changes = responder.report(report, now())?;
    if !changes.is_empty() {
        persist(changes).await?;
    }
    Ok(true)
}
