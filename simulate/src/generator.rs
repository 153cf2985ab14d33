//! The stream of records: scenes are played as event time goes on, their records wait in a heap until they are
//! delivered. The heap holds what is under way, so memory follows the rate and the lateness, not the event count.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use event::Time;

use crate::activity::{ACTIVITIES, Actor, SHARES};
use crate::clock::{after, human_activity};
use crate::company::Company;
use crate::dice::Dice;
use crate::options::{GenerateOptions, Pace, Scenario};
use crate::record::{Draft, Recorder};
use crate::story::{self, Telling, Timing};
use crate::truth::Truth;

/// One record on its way into the log.
#[derive(Debug, Clone)]
pub struct GeneratedRecord {
    /// Topic of the log, such as `endpoint.windows`.
    pub topic: &'static str,
    /// Name of the mapping that reads it, such as `windows_event`.
    pub source_kind: &'static str,
    /// Partition key: the host, mailbox or account.
    pub key: String,
    /// When the log receives it: never before the event, usually seconds after.
    pub delivery_time: Time,
    /// When it happened.
    pub event_time: Time,
    /// One JSON object, without line end.
    pub payload: String,
    /// Set if the record belongs to an attack.
    pub truth: Option<Truth>,
}

/// A record that waits for its delivery; the sequence number makes the order total.
struct Waiting {
    delivery: Time,
    sequence: u64,
    record: GeneratedRecord,
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.delivery, self.sequence).cmp(&(other.delivery, other.sequence))
    }
}

/// A story that is still to be told.
struct Planned {
    scenario: Scenario,
    number: u64,
    start: Time,
}

/// All records of a company's days, in the order of their delivery. The same company and options give the same
/// bytes.
///
/// Records come in event-time order but for their delivery delay: seconds for most, up to ten minutes for the late
/// ones, up to two hours for a twentieth of those.
pub struct Generator {
    company: Arc<Company>,
    options: GenerateOptions,
    /// Mean records per second of event time
    rate: f64,
    /// Draws of the everyday: which scene, when
    dice: Dice,
    /// Draws of what happens inside the scenes
    scenes: Option<Dice>,
    /// Draws of delays and duplicates
    transport: Dice,
    /// Start of the next scene: no record that is still to be made is older
    frontier: Time,
    end: Option<Time>,
    planned: VecDeque<Planned>,
    heap: BinaryHeap<Reverse<Waiting>>,
    sequence: u64,
    emitted: u64,
    /// Records and scenes so far, per domain
    made: [(f64, f64); 4],
}

/// Late records come this many seconds after the event, most of them.
const LATE_S: (f64, f64) = (60.0, 540.0);
/// One in so many late everyday records is very late, up to two hours; attack records never are.
const VERY_LATE_SHARE: f64 = 0.05;
const VERY_LATE_S: (f64, f64) = (600.0, 7_200.0);
/// How much of the volume is machines' at any hour; the rest follows the working day.
const MACHINE_SHARE: f64 = 0.35;
/// Seconds before its first step at which a telling begins: the victim's morning.
const PROLOGUE: Duration = Duration::from_secs(100);

impl Generator {
    /// A generator of `company` at its start.
    pub fn new(company: impl Into<Arc<Company>>, options: GenerateOptions) -> Self {
        let company = company.into();
        let start = company.start();
        let end = options.duration.map(|d| after(start, d.as_secs_f64()));
        Self {
            rate: options.rate(company.workstations().len(), |span| volume(&company, options.pace, span)),
            dice: company.dice("days"),
            scenes: Some(company.dice("scenes")),
            transport: company.dice("transport"),
            frontier: start,
            end,
            planned: plan(start, &options),
            heap: BinaryHeap::new(),
            sequence: 0,
            emitted: 0,
            made: [(0.0, 0.0); 4],
            company,
            options,
        }
    }

    /// Records that wait for their delivery now: what memory is spent on.
    pub fn waiting(&self) -> usize {
        self.heap.len()
    }

    /// Mean records per second of event time that this generator aims at.
    pub fn rate_per_s(&self) -> f64 {
        self.rate
    }

    /// Plays whatever starts next, a planned story or an everyday scene.
    fn play_next(&mut self) {
        match self.planned.front() {
            Some(next) if next.start <= after(self.frontier, PROLOGUE.as_secs_f64()) => {
                if let Some(planned) = self.planned.pop_front() {
                    self.play_story(&planned);
                }
            }
            _ => self.play_scene(),
        }
    }

    fn play_story(&mut self, planned: &Planned) {
        let timing = Timing {
            start: planned.start,
            length: self.options.story_length,
            pause: self.options.story_pause,
        };
        let company = Arc::clone(&self.company);
        let Telling { scenario, name, drafts } =
            story::tell(&company, planned.scenario, planned.number, timing);
        for draft in drafts {
            let truth = draft.step.map(|step| self.truth(&draft, step, scenario, &name));
            self.dispatch(draft, truth);
        }
        if let Some(gap) = self.options.story_repeat {
            let start = after(planned.start, gap.as_secs_f64().max(1.0));
            let at = self.planned.partition_point(|p| p.start <= start);
            self.planned
                .insert(at, Planned { scenario: planned.scenario, number: planned.number + 1, start });
        }
    }

    fn truth(&self, draft: &Draft, step: &'static str, scenario: Scenario, story: &Arc<str>) -> Truth {
        Truth {
            event_uid: draft.uid.clone(),
            story: Arc::clone(story),
            step,
            scenario,
            tenant: self.company.tenant().clone(),
            topic: draft.source.topic(),
            time: draft.event_time,
        }
    }

    fn play_scene(&mut self) {
        let at = self.frontier;
        let busy = match self.options.pace {
            Pace::Steady => 1.0,
            Pace::WorkingDays => human_activity(at, self.company.place.utc_offset_h),
        };
        let activity = self.choose(busy);
        let company = Arc::clone(&self.company);
        let Some(dice) = self.scenes.take() else { return };
        let mut recorder = Recorder::new(&company, dice);
        (ACTIVITIES[activity].play)(&mut recorder, at);
        let count = recorder.count() as f64;
        let drafts: Vec<Draft> = recorder.take().collect();
        self.scenes = Some(recorder.dice);
        let made = &mut self.made[ACTIVITIES[activity].domain as usize];
        *made = (made.0 + count, made.1 + 1.0);
        drafts.into_iter().for_each(|draft| self.dispatch(draft, None));
        let rate = self.rate * (MACHINE_SHARE + (1.0 - MACHINE_SHARE) * busy);
        let gap = self.dice.exponential(count.max(1.0) / rate);
        self.frontier = after(at, gap);
    }

    /// The next scene's index in [`ACTIVITIES`]. Scenes differ in size, so domains are chosen by the records they
    /// are behind their share.
    fn choose(&mut self, busy: f64) -> usize {
        let mut behind = [0.0; 4];
        for (domain, weight) in behind.iter_mut().enumerate() {
            let (records, scenes) = self.made[domain];
            *weight = SHARES[domain] / ((records + 8.0) / (scenes + 1.0));
        }
        let domain = self.dice.weighted(&behind);
        self.dice.weighted(&weights(domain, busy))
    }

    /// Sends a record on its way, sometimes twice.
    fn dispatch(&mut self, draft: Draft, truth: Option<Truth>) {
        let attack = draft.step.is_some();
        let delivery = after(draft.event_time, self.delay_s(&draft, attack));
        let record = GeneratedRecord {
            topic: draft.source.topic(),
            source_kind: draft.source.kind(),
            key: draft.key,
            delivery_time: delivery,
            event_time: draft.event_time,
            payload: draft.payload,
            truth,
        };
        if self.transport.chance(self.options.duplicate_share) {
            let again = after(delivery, self.transport.exponential(5.0));
            self.wait(GeneratedRecord { delivery_time: again, ..record.clone() });
        }
        self.wait(record);
    }

    fn delay_s(&mut self, draft: &Draft, attack: bool) -> f64 {
        let usual = self.transport.log_normal(draft.source.delay_s(), 0.5).min(45.0);
        if !self.transport.chance(self.options.late_share) {
            return usual;
        }
        let very_late = !attack && self.transport.chance(VERY_LATE_SHARE);
        let (low, high) = if very_late { VERY_LATE_S } else { LATE_S };
        low * (high / low).powf(self.transport.unit())
    }

    fn wait(&mut self, record: GeneratedRecord) {
        self.sequence += 1;
        self.heap.push(Reverse(Waiting { delivery: record.delivery_time, sequence: self.sequence, record }));
    }

    fn finished(&self) -> bool {
        self.options.events.is_some_and(|events| self.emitted >= events)
    }

    /// True while a scene to come could still make a record older than the first that waits.
    fn must_play(&self) -> bool {
        if self.end.is_some_and(|end| self.frontier >= end) {
            return false;
        }
        let prologue = PROLOGUE.as_micros() as i64;
        let next_story = self.planned.front().map_or(Time::MAX, |p| p.start.plus_micros(-prologue));
        let oldest_to_come = self.frontier.min(next_story);
        self.heap.peek().is_none_or(|Reverse(first)| first.delivery > oldest_to_come)
    }
}

impl Iterator for Generator {
    type Item = GeneratedRecord;

    fn next(&mut self) -> Option<GeneratedRecord> {
        if self.finished() {
            return None;
        }
        while self.must_play() {
            self.play_next();
        }
        let Reverse(first) = self.heap.pop()?;
        self.emitted += 1;
        Some(first.record)
    }
}

/// How the volume at an hour compares to the mean.
fn volume_at(company: &Company, pace: Pace, at: Time) -> f64 {
    match pace {
        Pace::Steady => 1.0,
        Pace::WorkingDays => {
            MACHINE_SHARE + (1.0 - MACHINE_SHARE) * human_activity(at, company.place.utc_offset_h)
        }
    }
}

/// The mean of [`volume_at`] from the start over `span`.
fn volume(company: &Company, pace: Pace, span: Duration) -> f64 {
    const SAMPLES: u32 = 200;
    let at = |i: u32| after(company.start(), span.as_secs_f64() * f64::from(i) / f64::from(SAMPLES));
    (0..SAMPLES).map(|i| volume_at(company, pace, at(i))).sum::<f64>() / f64::from(SAMPLES)
}

/// When each story starts, in order.
fn plan(start: Time, options: &GenerateOptions) -> VecDeque<Planned> {
    let stagger = options.stagger().as_secs_f64();
    let first = after(start, options.story_start_offset.as_secs_f64());
    let told = options.scenarios.iter().enumerate();
    told.map(|(i, &scenario)| Planned { scenario, number: 1, start: after(first, stagger * i as f64) })
        .collect()
}

/// Weights of all activities for one domain, at an hour when people are this busy.
fn weights(domain: usize, busy: f64) -> [f64; ACTIVITIES.len()] {
    std::array::from_fn(|i| {
        let activity = &ACTIVITIES[i];
        match activity.actor {
            _ if activity.domain as usize != domain => 0.0,
            Actor::People => activity.weight * busy,
            Actor::Machines => activity.weight,
        }
    })
}

#[cfg(test)]
mod tests;
