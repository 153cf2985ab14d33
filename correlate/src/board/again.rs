//! Placing again what was taken back. A late alert belongs before provisional ones, which are taken back and placed
//! again after it; but few of them share anything with it. So what placing an alert found is kept as long as the alert is
//! provisional, and holds as long as nobody before it changed a key that it read.

use std::collections::BTreeSet;
use std::sync::Arc;

use event::Time;
use hashbrown::HashMap;

use super::entries::Change;
use super::{Board, Edge, News, Node, Places, Scored, Undo, restore};
use crate::evidence::Key;
use crate::facts::{Facts, Learnt, Stale};
use crate::fixed::mix;
use crate::forest::{Log, NONE};
use crate::keyed::Keyed;
use crate::mark::Mark;
use crate::parameters::File;
use crate::score::Weighed;

/// What placing an alert found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// The keys of which it asked what telemetry has taught.
    pub(super) asked: Vec<Key>,
    /// What it read on the board.
    pub(super) reads: Vec<Key>,
    /// Where its posts are.
    pub(super) places: Places,
    pub(super) asks: Vec<Weighed>,
    /// Alerts that it would join, strongest first.
    pub(super) scored: Scored,
    pub(super) news: Vec<News>,
    /// Edges that keep its episode together: none or one, the first of its edges.
    pub(super) episode_edges: usize,
    pub(super) pairs: u64,
    pub(super) entities_dropped: u64,
}

/// An alert that was taken back, with all that its placing made.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    node: Node,
    mark: Mark,
    place: u32,
    /// Nothing where a snapshot did not keep it.
    found: Option<Box<Found>>,
    edges: Vec<Edge>,
    adopted: Vec<u32>,
    forest: Log,
    /// Something was learnt that it may have used.
    is_stale: bool,
}

/// Alerts that were taken back and wait to be placed again.
#[derive(Debug, Clone, Default)]
pub(crate) struct Again {
    /// The earliest last.
    taken: Vec<Taken>,
    /// The place that the earliest had.
    first: u32,
    /// Where those from `first` on are now.
    moved: Vec<u32>,
    dirty: Dirty,
    /// Former places of alerts whose incident has not been told.
    untold: BTreeSet<u32>,
}

/// What reads otherwise than before, and for how many more alerts that are left there: after as many as are kept the
/// nearest are the same again. [`FOR_GOOD`] for what has other counterparties.
#[derive(Debug, Clone)]
struct Dirty {
    left: HashMap<Key, usize>,
    /// A bit of each key that ever was among them: most of what is asked for never was.
    bits: Box<[u64; DIRTY_WORDS]>,
}

const DIRTY_WORDS: usize = 256;

impl Default for Dirty {
    fn default() -> Self {
        Self { left: HashMap::new(), bits: Box::new([0; DIRTY_WORDS]) }
    }
}

impl Dirty {
    fn bit(key: Key) -> (usize, u64) {
        ((key.0 >> 6) as usize % DIRTY_WORDS, 1 << (key.0 & 63))
    }

    fn has(&self, key: Key) -> bool {
        let (word, bit) = Self::bit(key);
        self.bits[word] & bit != 0 && self.left.contains_key(&key)
    }

    /// For so many more alerts at least.
    fn insert(&mut self, key: Key, alerts: usize) {
        let (word, bit) = Self::bit(key);
        self.bits[word] |= bit;
        let left = self.left.entry(key).or_default();
        *left = alerts.max(*left);
    }

    /// An alert was left there.
    fn pass(&mut self, key: Key) {
        if !self.has(key) {
            return;
        }
        match self.left.get_mut(&key) {
            Some(&mut FOR_GOOD) | None => {}
            Some(1) => drop(self.left.remove(&key)),
            Some(left) => *left -= 1,
        }
    }

    fn clear(&mut self) {
        self.left.clear();
        self.bits.fill(0);
    }
}

impl Undo {
    /// Whether something was learnt that the alert of this placing may have used.
    pub(crate) fn is_stale(&self, time: Time, learnt: &Learnt) -> bool {
        is_stale(self.found.as_deref(), time, learnt)
    }
}

fn is_stale(found: Option<&Found>, time: Time, learnt: &Learnt) -> bool {
    // Nobody knows what those asked for of which a snapshot did not keep what they found.
    learnt.matters(time, found.map(|found| &*found.asked))
}

/// Counterparties stay.
const FOR_GOOD: usize = usize::MAX;

impl Again {
    /// Alerts are taken back latest first.
    pub(crate) fn take(&mut self, taken: Taken) {
        self.first = taken.place;
        self.taken.push(taken);
    }

    /// The incidents of these former places have not been told.
    pub(crate) fn owe(&mut self, places: BTreeSet<u32>) {
        self.untold.extend(places);
    }

    /// Something was learnt: it matters to what asked for it.
    pub(crate) fn learnt(&mut self, learnt: &Learnt) {
        for taken in &mut self.taken {
            taken.is_stale |= is_stale(taken.found.as_deref(), taken.node.alert.time, learnt);
        }
    }

    /// Placing begins.
    pub(crate) fn begin(&mut self) {
        self.moved.clear();
        self.moved.resize(self.taken.len(), NONE);
    }

    /// Those that are left, and places before them whose joins taking back changed; all is forgotten.
    pub(crate) fn forget(&mut self) -> (Vec<Arc<Keyed>>, Vec<u32>) {
        let places = self.taken.iter().flat_map(|taken| taken.forest.touched()).map(|place| self.now(place));
        let places = places.filter(|place| *place != NONE).collect();
        // Its memory is used again: as many are taken back with every portion.
        let left = self.taken.drain(..).map(|taken| taken.node.alert).collect();
        self.moved.clear();
        self.dirty.clear();
        self.untold.clear();
        (left, places)
    }

    /// Those that wait.
    pub(crate) fn len(&self) -> usize {
        self.taken.len()
    }

    /// The earliest of them.
    pub(crate) fn first(&self) -> Option<&Node> {
        self.taken.last().map(|taken| &taken.node)
    }

    fn moved(&mut self, place: u32, index: u32) {
        if let Some(now) = self.moved.get_mut((place - self.first) as usize) {
            *now = index;
        }
    }

    /// Where an alert is now.
    fn now(&self, place: u32) -> u32 {
        match place.checked_sub(self.first) {
            None => place,
            Some(after) => self.moved.get(after as usize).copied().unwrap_or(NONE),
        }
    }

    fn holds(&self, taken: &Taken) -> bool {
        let is_clean = |found: &Found| !found.reads.iter().any(|key| self.dirty.has(*key));
        !taken.is_stale && taken.found.as_deref().is_some_and(is_clean)
    }

    /// Others find an alert, or what it gave a tree, otherwise than before.
    fn mark(
        &mut self,
        board: &Board,
        node: &Node,
        news: &[News],
        adopted: impl Iterator<Item = u32>,
        neighbours: usize,
    ) {
        let given = adopted.filter_map(|place| board.nodes.get(place as usize));
        for post in given.chain([node]).flat_map(|node| &node.posts) {
            self.dirty.insert(post.key, neighbours);
        }
        // Whoever reads what is counted of a key reads what is spared of it too.
        let lasting = news.iter().map(|news| news.key).chain([node.scene]);
        lasting.for_each(|key| self.dirty.insert(key, FOR_GOOD));
    }

    /// An alert that begins an episode was left at its keys.
    fn pass(&mut self, node: &Node) {
        if !self.taken.is_empty() {
            node.posts.iter().for_each(|post| self.dirty.pass(post.key));
        }
    }
}

/// A placing, and what is to be told of it.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    pub(crate) undo: Undo,
    /// Alerts whose incident may be another now.
    pub(crate) touched: Vec<u32>,
}

impl Board {
    /// Takes back the latest placing.
    pub(crate) fn take_back(&mut self, undo: Undo) -> Option<Taken> {
        let (node, mark) = (self.nodes.pop()?, self.marks.pop()?);
        self.sequence -= 1;
        self.forest.undo(&undo.forest, self.nodes.len());
        let edges = self.edges.split_off(undo.edges);
        for adopted in &undo.adopted {
            self.nodes[*adopted as usize].adopted.clear();
        }
        let (place, is_stale) = (self.nodes.len() as u32, false);
        self.entries.fetch(undo.entries.iter().map(Change::place));
        undo.entries.iter().rev().for_each(|change| self.entries.take_back(place, change));
        restore(&mut self.episodes, undo.episodes);
        let Undo { found, adopted, forest, .. } = undo;
        Some(Taken { node, mark, place, found, edges, adopted, forest, is_stale })
    }

    /// Places an alert that comes for the first time; one that is placed for good is never taken back.
    pub(crate) fn place_new(
        &mut self,
        alert: Arc<Keyed>,
        is_for_good: bool,
        again: &mut Again,
        facts: &Facts,
        file: &File,
        stale: &mut Stale,
    ) -> Placed {
        let index = self.nodes.len() as u32;
        let undo = self.place(alert, is_for_good, facts, file, stale);
        self.pass(index, again);
        let touched = self.compare(None, &undo, index, again, file);
        Placed { undo, touched }
    }

    /// Places the next of those that were taken back, the way it was before where that still holds.
    pub(crate) fn place_taken(
        &mut self,
        again: &mut Again,
        facts: &Facts,
        file: &File,
        stale: &mut Stale,
    ) -> Option<Placed> {
        let taken = again.taken.pop()?;
        let index = self.nodes.len() as u32;
        again.moved(taken.place, index);
        if again.holds(&taken) {
            let touched = again.untold.remove(&taken.place).then_some(index).into_iter().collect();
            let undo = self.place_again(taken, again, file);
            self.pass(index, again);
            return Some(Placed { undo, touched });
        }
        let undo = self.place(Arc::clone(&taken.node.alert), false, facts, file, stale);
        self.pass(index, again);
        let touched = self.compare(Some(taken), &undo, index, again, file);
        Some(Placed { undo, touched })
    }

    fn pass(&self, index: u32, again: &mut Again) {
        let node = &self.nodes[index as usize];
        if node.episode == index {
            again.pass(node);
        }
    }

    fn place_again(&mut self, taken: Taken, again: &Again, file: &File) -> Undo {
        let Taken { node, mark, found, mut edges, .. } = taken;
        let mut found = found.unwrap_or_default();
        self.undo = Undo { edges: self.edges.len(), ..Undo::default() };
        self.sequence += 1;
        self.counts.entities_dropped += found.entities_dropped;
        self.counts.pairs += found.pairs;
        let index = self.forest.add(mix(node.hash));
        let node = Node { episode: index, sequence: self.sequence, ..node };
        let folded_into = self.fold(&node, index, file);
        self.marks.push(mark.after(self.marks.last()));
        self.nodes.push(node);
        if let Some(earlier) = folded_into {
            self.continue_episode(earlier, index);
        }
        edges.drain(..found.episode_edges);
        edges.iter_mut().for_each(|edge| (edge.a, edge.b) = (again.now(edge.a), index));
        found.scored.iter_mut().for_each(|(_, candidate)| *candidate = again.now(*candidate));
        self.join_scored(index, &found.scored, &found.asks, edges, file);
        self.news = std::mem::take(&mut found.news);
        found.news = self.post(index, &found.places, file);
        self.undo.found = Some(found);
        self.undo.forest = self.forest.take_log();
        std::mem::take(&mut self.undo)
    }

    /// Marks what later alerts read otherwise than before, and says whose incident may be another.
    fn compare(
        &self,
        before: Option<Taken>,
        undo: &Undo,
        index: u32,
        again: &mut Again,
        file: &File,
    ) -> Vec<u32> {
        let node = &self.nodes[index as usize];
        let news = undo.found.as_ref().map_or(&[][..], |found| &found.news);
        let adopted = || undo.adopted.iter().copied();
        let Some(taken) = before else {
            if !again.taken.is_empty() {
                again.mark(self, node, news, adopted(), file.neighbours);
            }
            return undo.touched().chain([index]).collect();
        };
        let adopted_before = || taken.adopted.iter().map(|place| again.now(*place));
        let news_before = taken.found.as_ref().map(|found| &*found.news);
        let is_same = taken.node.looks_like(node, |place| again.now(place))
            && news_before == Some(news)
            && adopted_before().eq(adopted());
        let is_alone = taken.edges.is_empty() && self.edges.len() == undo.edges;
        let is_told = is_same && is_alone && !taken.is_stale && !again.untold.contains(&taken.place);
        let ends_before: Vec<u32> = taken.edges.iter().map(|edge| again.now(edge.a)).collect();
        if !is_same {
            let adopted_before: Vec<u32> = adopted_before().collect();
            again.mark(self, node, news, adopted(), file.neighbours);
            let news_before = news_before.unwrap_or_default();
            again.mark(self, &taken.node, news_before, adopted_before.into_iter(), file.neighbours);
        }
        if is_told {
            return Vec::new();
        }
        undo.touched().chain(ends_before).chain([index]).collect()
    }
}

impl Node {
    /// Whether others see the same in it as in what it was before.
    fn looks_like(&self, node: &Node, now: impl Fn(u32) -> u32) -> bool {
        let seen = |node: &Node| {
            (node.principal, node.scene, node.sigma, node.tree_known, node.has_events, node.breadth)
        };
        seen(self) == seen(node)
            && self.posts == node.posts
            && self.adopted == node.adopted
            && (self.rare, self.common) == (node.rare, node.common)
            && now(self.episode) == node.episode
    }
}
