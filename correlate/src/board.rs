//! The board on which alerts meet: for every entity the nearest alerts that name it, and who its counterparties
//! are. Alerts are placed in order of event time; each placing can be taken back, latest first.

mod again;
mod entries;

use std::cmp::Ordering;
use std::hint::black_box;
use std::sync::Arc;

use event::{AlertId, Entity, EntityType, Tactic, Time};
use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

pub(crate) use self::again::Again;
use self::again::Found;
use self::entries::{Change, Displaced, Entries, Ring};
use crate::episode::{self, Episode};
use crate::evidence::{Evidence, Key};
use crate::facts::{Facts, Party, Stale, counterparties};
use crate::fixed::{ONE, log2, mix, rarity, times};
use crate::forest::{Forest, Log, NONE, Strength};
use crate::keyed::Keyed;
use crate::mark::{Bound, Mark};
use crate::parameters::File;
use crate::rarity::{Crowd, Member};
use crate::resolve::{Ask, Breadth, Post, Resolved};
use crate::score::{Reason, Weighed, reasons, weigh};
use crate::snapshot::sorted;

/// A placed alert.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Node {
    pub(crate) alert: Arc<Keyed>,
    /// Sorted by key.
    pub(crate) posts: Vec<Post>,
    pub(crate) principal: Key,
    pub(crate) scene: Key,
    /// How telling its rule was at its time, in millionths.
    pub(crate) sigma: u32,
    pub(crate) tree_known: bool,
    /// Whether joins of plain events lead from it to others.
    has_events: bool,
    pub(crate) breadth: Breadth,
    /// The process tree that it was taken to belong to, where it names no process itself.
    pub(crate) adopted: SmallVec<[Key; 2]>,
    pub(crate) stage: Option<Tactic>,
    /// The part of the organisation that it belongs to.
    pub(crate) scope: Option<u16>,
    /// Posts, without those of records, that are artefacts which few share, as bits.
    pub(crate) rare: u64,
    /// The same of artefacts which more share.
    pub(crate) common: u64,
    /// Microseconds.
    pub(crate) begin: i64,
    /// Microseconds; at most `span_max` after `begin`.
    pub(crate) end: i64,
    /// First alert of its episode.
    pub(crate) episode: u32,
    /// Number in the order of placing, from 1.
    pub(crate) sequence: u64,
    /// 64 bits of its id.
    hash: u64,
}

impl Node {
    pub(crate) fn id(&self) -> &AlertId {
        &self.alert.id
    }

    /// The processes that stand for its tree: its own, else those it was taken to belong to.
    pub(crate) fn tree(&self) -> impl Iterator<Item = Key> + Clone + '_ {
        let own = self.posts.iter().filter(|post| self.tree_known && post.kind == Evidence::Process);
        own.map(|post| post.key).chain(self.adopted.iter().copied())
    }

    /// Whether it shares exactly what an alert before it shared, and no plain event leads elsewhere.
    fn repeats(&self, before: &Node) -> bool {
        !self.has_events && self.named().eq(before.named())
    }

    /// The bit of [`Node::rare`] and [`Node::common`] that stands for a post: the same one for an alert and what repeats
    /// it. None for what it does not name; an alert names fewer than 64 things, and what it names beyond is no artefact.
    pub(crate) fn bit(&self, key: Key) -> u64 {
        let place = self.named().position(|post| post.key == key);
        place.and_then(|place| 1_u64.checked_shl(place as u32)).unwrap_or_default()
    }

    /// What it shares beside its records, which are its own.
    fn named(&self) -> impl Iterator<Item = &Post> {
        self.posts.iter().filter(|post| post.kind != Evidence::Record)
    }

    fn is_on_device_of(&self, other: &Node) -> bool {
        self.principal == other.principal && self.posts.iter().any(|post| post.kind == Evidence::Device)
    }

    /// The order of alerts in event time.
    pub(crate) fn order(&self) -> (Time, &AlertId) {
        (self.time(), self.id())
    }

    /// Event time, without a look at the alert.
    pub(crate) fn time(&self) -> Time {
        Time(self.begin)
    }

    /// Whether it is before an alert of that time and id.
    pub(crate) fn is_before(&self, (time, id): (Time, &AlertId)) -> bool {
        self.time() < time || (self.time() == time && self.id() < id)
    }
}

/// A scored pair that is, or was when made, in the forest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Edge {
    pub(crate) a: u32,
    pub(crate) b: u32,
    pub(crate) weight: u32,
    pub(crate) gap_us: i64,
    pub(crate) reasons: Vec<Reason>,
}

/// All placed alerts of a tenant, their meeting places and their forest.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Board {
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) forest: Forest,
    entries: Entries,
    #[serde(with = "sorted")]
    episodes: HashMap<Key, Episode>,
    sequence: u64,
    undo: Undo,
    /// Whom the alert being placed meets for the first time.
    #[serde(skip)]
    news: Vec<News>,
    /// Every pair that joins, for benchmarks that ask for them.
    #[serde(skip)]
    pub(crate) pairs: Option<Vec<(u32, u32)>>,
    pub(crate) counts: Counts,
    /// Of every node.
    #[serde(skip)]
    marks: Vec<Mark>,
}

/// New counterparties of an entity or rule. The alert that brings them sees them; for later alerts they count unless
/// it turns out to belong to what was there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct News {
    key: Key,
    /// The post by which others have it: a rule's for its title.
    post: Key,
    group: usize,
    members: SmallVec<[Member; NEWS_MAX]>,
    /// The alert belongs to what was there whatever it brings here.
    is_spared: bool,
}

impl News {
    /// Where its members are counted.
    fn counted_at(&self) -> Key {
        if self.is_spared { spared(self.key) } else { self.key }
    }

    /// Whether that is the post itself.
    fn is_at_post(&self) -> bool {
        !self.is_spared && self.key == self.post
    }
}

/// Where the counterparties are counted that make an entity no more common, up to a number.
fn spared(key: Key) -> Key {
    Key(mix(key.0 ^ 0x5a5a_5a5a_5a5a_5a5a))
}

/// Counterparties of one entity that one alert can add.
const NEWS_MAX: usize = 2;

/// Where the board has what an alert names, in the order of its posts.
type Places = SmallVec<[u32; 16]>;

/// The nearest alerts of one, by place.
type Candidates = SmallVec<[u32; 96]>;

/// Alerts that one would join, strongest first.
type Scored = SmallVec<[(Strength, u32); 16]>;

/// What a placing changed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Undo {
    entries: Vec<Change>,
    episodes: Vec<(Key, Option<Episode>)>,
    forest: Log,
    edges: usize,
    /// Earlier alerts that the placing gave a tree.
    adopted: Vec<u32>,
    /// What it found: after a restart it is found anew.
    #[serde(skip)]
    found: Option<Box<Found>>,
}

/// Work done, for the statistics.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) pairs: u64,
    pub(crate) folded: u64,
    pub(crate) entities_dropped: u64,
}

impl Board {
    /// Places an alert, joins it to its neighbours, and says what that changed; of one that is placed for good only what
    /// others have to know.
    fn place(
        &mut self,
        alert: Arc<Keyed>,
        is_for_good: bool,
        facts: &Facts,
        file: &File,
        stale: &mut Stale,
    ) -> Undo {
        self.undo = Undo { edges: self.edges.len(), ..Undo::default() };
        let entities_dropped = alert.entities.len().saturating_sub(file.limits.entities_per_alert) as u64;
        self.counts.entities_dropped += entities_dropped;
        let pairs_before = self.counts.pairs;
        stale.begin();
        let mut resolved = Resolved::of(&alert, facts, file, stale);
        let places: Places = resolved.posts.iter().map(|post| self.entries.place(post.key)).collect();
        self.entries.fetch(places.iter().copied());
        self.news = self.news_of(&alert, &resolved, &places, file);
        // For when it is taken back.
        let (asked, reads) = match is_for_good {
            true => (Vec::new(), Vec::new()),
            false => (stale.asked(), reads(&alert, &resolved)),
        };
        let mut node = self.node(alert, &mut resolved, file);
        let index = self.forest.add(mix(node.hash));
        let folded_into = self.fold(&node, index, file);
        node.sigma = self.sigma(&node, file);
        self.marks.push(Mark::of(&node, self.marks.last()));
        self.nodes.push(node);
        let is_repetition = folded_into.is_some_and(|earlier| self.continue_episode(earlier, index));
        let episode_edges = self.edges.len() - self.undo.edges;
        // A repetition that shares exactly what the alert before it shared would find the same neighbours.
        let (asks, scored) = if is_repetition {
            self.news.clear();
            (Vec::new(), Scored::new())
        } else {
            self.join(index, resolved, &places, facts, file)
        };
        // They are asked for again where there is somebody to join, and hold on to every name.
        let asks = if scored.is_empty() { Vec::new() } else { asks };
        let news = self.post(index, &places, file);
        let pairs = self.counts.pairs - pairs_before;
        let found =
            Found { asked, reads, places, asks, scored, news, episode_edges, pairs, entities_dropped };
        self.undo.found = Some(Box::new(found));
        self.undo.forest = self.forest.take_log();
        std::mem::take(&mut self.undo)
    }

    fn node(&mut self, alert: Arc<Keyed>, resolved: &mut Resolved, file: &File) -> Node {
        self.sequence += 1;
        let begin = alert.time.0;
        let end = alert.end_time.0.clamp(begin, begin.saturating_add(file.span_max.0));
        Node {
            posts: std::mem::take(&mut resolved.posts),
            principal: resolved.principal,
            scene: resolved.scene,
            sigma: 0,
            tree_known: resolved.tree_known,
            has_events: resolved.asks.iter().any(|ask| ask.lead.is_some()),
            breadth: resolved.breadth,
            adopted: SmallVec::new(),
            stage: alert.last_tactic(),
            rare: 0,
            common: 0,
            scope: file.scope_of(alert.entities.iter().filter(|e| is_placed(e)).map(|e| &*e.value)),
            begin,
            end,
            episode: self.nodes.len() as u32,
            sequence: self.sequence,
            hash: alert.own_key.0,
            alert,
        }
    }

    /// Who meets whom for the first time: an address that ever more users share loses its weight within the hour.
    fn news_of(&self, alert: &Keyed, resolved: &Resolved, places: &[u32], file: &File) -> Vec<News> {
        let generation = generation(alert.time);
        let counts = |kind: Evidence| !matches!(kind, Evidence::Process | Evidence::Record);
        // Whether one of them is not counted yet.
        let is_new = |place: Option<u32>, members: &[Member]| {
            let known = place.map(|place| self.entries.at(place));
            let mut crowd = known.map_or_else(Crowd::default, |entry| entry.crowd_from(generation));
            members.iter().any(|member| crowd.add(*member, file))
        };
        let mut news = Vec::new();
        let posts = resolved.posts.iter().zip(places);
        for (post, place) in posts.filter(|(post, _)| counts(post.kind) && !post.implied) {
            let group = post.kind.group();
            if post.kind == Evidence::Rule {
                let title = (alert.title_key, self.entries.find(alert.title_key));
                let own = [(alert.rule_key, Some(*place)), title];
                for (key, place) in own.into_iter().filter(|_| post.key == alert.rule_key) {
                    let members = SmallVec::from_slice(&[Member::Seen(resolved.fired_on)]);
                    if is_new(place, &members) {
                        news.push(News { key, post: post.key, group, members, is_spared: false });
                    }
                }
                continue;
            }
            let asked = resolved.asks.iter().find(|ask| ask.post.key == post.key);
            let Some(of) = asked.and_then(|ask| resolved.party_of(ask.entity)) else { continue };
            // From how many addresses a user comes says nothing about how many people the account is.
            let is_told = |p: &&Party| of.entity_type != EntityType::User || p.entity_type != EntityType::Ip;
            let told =
                resolved.members.iter().filter(is_told).filter(|p| !resolved.only_writes_to(p.key, of.key));
            let told: SmallVec<[Party; 8]> = told.copied().collect();
            // One alert is one occurrence, whatever it lists.
            let mut members: SmallVec<[Member; 4]> =
                counterparties(of, &told).map(|key| resolved.member(key)).collect();
            members.sort_unstable();
            members.truncate(NEWS_MAX);
            if is_new(Some(*place), &members) {
                let members = SmallVec::from_slice(&members);
                news.push(News { key: post.key, post: post.key, group, members, is_spared: false });
            }
        }
        news
    }

    /// Leaves the alert at every key it names: in place of an earlier one of its episode, else of the oldest. What its
    /// joins left of its news counts for later alerts.
    fn post(&mut self, index: u32, places: &[u32], file: &File) -> Vec<News> {
        let node = &self.nodes[index as usize];
        let generation = generation(node.time());
        let all = std::mem::take(&mut self.news);
        self.undo.entries.reserve_exact(places.len() + all.len());
        self.entries.fetch(places.iter().copied());
        for (post, place) in node.posts.iter().zip(places) {
            let mut change = Change::at(*place);
            let ring = self.entries.ring(&change);
            change.displaced = enter(&self.nodes, &self.marks, ring, index, file.neighbours);
            for news in all.iter().filter(|news| news.post == post.key && news.is_at_post()) {
                self.entries.count(&mut change, &news.members, generation, file);
            }
            self.undo.entries.push(change);
        }
        // Nobody asks for a title, or for what was spared: it only has to stay as long as an alert of it.
        for news in all.iter().filter(|news| !news.is_at_post()) {
            let mut change = Change::at(self.entries.place(news.counted_at()));
            let before = std::mem::replace(self.entries.ring(&change), Ring::from_slice(&[index]));
            change.displaced = before.first().map(|node| Displaced { node: *node, position: 0 });
            self.entries.count(&mut change, &news.members, generation, file);
            self.undo.entries.push(change);
        }
        all
    }

    /// The counterparties of an entity value in alerts, those of the alert being placed among them.
    fn crowd(&self, key: Key, generation: i64, file: &File) -> Crowd {
        self.crowd_at(self.entries.find(key), key, generation, file)
    }

    /// The same where the key's place is known.
    fn crowd_at(&self, place: Option<u32>, key: Key, generation: i64, file: &File) -> Crowd {
        let known = place.map(|place| self.entries.at(place));
        let mut crowd = known.map_or_else(Crowd::default, |entry| entry.crowd(generation));
        for member in self.news.iter().filter(|news| news.key == key).flat_map(|news| &news.members) {
            crowd.add(*member, file);
        }
        crowd
    }

    /// How telling the rule is at this time: less where it, or another of its title, fires on many, or it fires on this
    /// one again and again.
    fn sigma(&self, node: &Node, file: &File) -> u32 {
        let generation = generation(node.time());
        let rules = [node.alert.rule_key, node.alert.title_key];
        let everywhere =
            rules.into_iter().map(|key| self.crowd(key, generation, file).count()).max().unwrap_or(0);
        let spread = ONE - rarity(everywhere, file.sigma.free, file.sigma.population);
        // Episodes before this one: an alert does not lose weight because its own episode goes on.
        let times_here = self.episodes.get(&node.scene).map_or(0, |e| e.count(generation)).saturating_sub(1);
        let repeats =
            u64::from(log2(times_here + 1)) * u64::from(ONE) / u64::from(log2(file.sigma.repeats.max(2)));
        let common = spread.max(repeats.min(u64::from(ONE)) as u32);
        times(file.sigma.of(node.alert.severity), ONE - times(file.sigma.fall.0, common))
    }

    /// The earlier alert of the same episode, if there is one within the gap.
    fn fold(&mut self, node: &Node, index: u32, file: &File) -> Option<u32> {
        let is_same =
            |latest: &u32| episode::is_same(&self.nodes[*latest as usize], node, file.episode_gap.0);
        let after = |known: Option<&Episode>, is_continued| {
            episode::after(known, index, generation(node.time()), is_continued)
        };
        let (known, folded) = match self.episodes.entry(node.scene) {
            Entry::Vacant(unknown) => {
                unknown.insert(after(None, false));
                (None, None)
            }
            Entry::Occupied(mut known) => {
                let before = known.get().clone();
                let folded = Some(before.latest).filter(is_same);
                known.insert(after(Some(&before), folded.is_some()));
                (Some(before), folded)
            }
        };
        self.undo.episodes.push((node.scene, known));
        folded
    }

    /// Joins an alert to the one before it in its episode; `true` where it repeats that one.
    fn continue_episode(&mut self, earlier: u32, index: u32) -> bool {
        self.counts.folded += 1;
        let before = &self.nodes[earlier as usize];
        let is_repetition = self.nodes[index as usize].repeats(before);
        let edge = episode::edge(before, earlier, &self.nodes[index as usize], index);
        let Node { episode, rare, common, .. } = *before;
        self.nodes[index as usize].episode = episode;
        if is_repetition {
            (self.nodes[index as usize].rare, self.nodes[index as usize].common) = (rare, common);
        }
        self.pairs.iter_mut().for_each(|pairs| pairs.push((earlier, index)));
        self.connect(edge);
        is_repetition
    }

    /// Joins an alert to its neighbours; says what it asked for and whom it would join.
    fn join(
        &mut self,
        index: u32,
        resolved: Resolved,
        places: &[u32],
        facts: &Facts,
        file: &File,
    ) -> (Vec<Weighed>, Scored) {
        let mut asks = self.weighed(resolved, facts, index, places, file);
        self.note_artefacts(index, &asks, file);
        asks.retain(|weighed| weighed.rarity > 0);
        let mut scored = self.scored(index, self.candidates(index, &asks), &asks, file);
        if self.adopt(index, &scored) {
            let again = scored.iter().map(|(_, candidate)| *candidate).collect();
            scored = self.scored(index, again, &asks, file);
        }
        self.join_scored(index, &scored, &asks, Vec::new(), file);
        (asks, scored)
    }

    /// The asks that are worth looking up, with their rarity at the time of the alert. The places of its posts spare
    /// looking for them.
    pub(crate) fn weighed(
        &self,
        resolved: Resolved,
        facts: &Facts,
        index: u32,
        posts: &[u32],
        file: &File,
    ) -> Vec<Weighed> {
        let node = &self.nodes[index as usize];
        let t = node.alert.time;
        let generation = generation(t);
        let trust = facts.rarity.trust(t, file);
        let crowd_at =
            |place, key| self.crowd_at(place, key, generation, file).union(facts.rarity.crowd(key, t, file));
        let crowd = |key: Key| crowd_at(self.entries.find(key), key);
        // Both are sorted by key.
        let mut placed = node.posts.iter().zip(posts).peekable();
        let place = |ask: &Ask| {
            let key = ask.post.key;
            while placed.next_if(|(post, _)| post.key < key).is_some() {}
            let own = placed.peek().filter(|(post, _)| post.key == key).map(|(_, place)| **place);
            own.or_else(|| self.entries.find(key))
        };
        let places: SmallVec<[Option<u32>; 16]> = resolved.asks.iter().map(place).collect();
        let named = resolved.asks.iter().zip(&places).filter(|(ask, _)| ask.lead.is_none());
        let crowds: SmallVec<[(u16, Crowd); 16]> =
            named.map(|(ask, place)| (ask.entity, crowd_at(*place, ask.post.key))).collect();
        let weigh_one = |(ask, place): (Ask, Option<u32>)| {
            let weighing = file.weighing(ask.post.kind);
            // All aliases of one entity have one crowd.
            let all = crowds
                .iter()
                .filter(|(entity, _)| *entity == ask.entity)
                .fold(Crowd::default(), |c, (_, d)| c.union(*d));
            let measured = match ask.post.kind {
                Evidence::Process => ask.rarity,
                Evidence::Join(_) => {
                    let common = |(key, kind): &(Key, Evidence)| {
                        let weighing = file.weighing(*kind);
                        rarity(crowd(*key).count(), weighing.free, weighing.population)
                    };
                    times(ask.rarity, ask.common().iter().map(common).min().unwrap_or(ONE))
                }
                Evidence::Rule => ONE,
                _ => rarity(all.count(), weighing.free, weighing.population),
            };
            let prior = weighing.prior.0;
            // Telemetry knows entities; rules it does not know.
            let trust = if ask.post.kind == Evidence::Rule { 0 } else { trust };
            let believed = prior + times(ONE.saturating_sub(prior), trust);
            Weighed { rarity: times(measured, believed), measured, place, ask }
        };
        resolved.asks.into_iter().zip(places).map(weigh_one).collect()
    }

    /// Which of its posts are artefacts that only few share, and which of them are shared by more.
    fn note_artefacts(&mut self, index: u32, asks: &[Weighed], file: &File) {
        let node = &mut self.nodes[index as usize];
        for weighed in asks.iter().filter(|weighed| file.campaign.kinds.contains(&weighed.ask.post.kind)) {
            let key = weighed.ask.post.key;
            let bit = node.bit(key);
            if weighed.measured < file.campaign.rarity.0 {
                node.common |= bit;
            } else if weighed.rarity >= file.campaign.rarity.0 {
                node.rare |= bit;
            }
        }
    }

    /// Joins an alert to those that it scored with, over edges that are known or made.
    fn join_scored(
        &mut self,
        index: u32,
        scored: &Scored,
        asks: &[Weighed],
        mut known: Vec<Edge>,
        file: &File,
    ) {
        for &(strength, candidate) in scored {
            self.give_tree(index, candidate);
            if self.forest.would_enter(candidate, index, strength) {
                let place = known.iter().position(|edge| edge.a == candidate);
                let edge = place.map(|place| known.swap_remove(place));
                let edge = edge.unwrap_or_else(|| self.edge(candidate, index, asks, file));
                self.connect(edge);
            }
        }
    }

    fn edge(&self, candidate: u32, index: u32, asks: &[Weighed], file: &File) -> Edge {
        let node = &self.nodes[index as usize];
        let weight = weigh(&self.nodes[candidate as usize], node, asks, file);
        let reasons = reasons(&weight, asks, &node.alert);
        Edge { a: candidate, b: index, weight: weight.weight, gap_us: weight.gap_us, reasons }
    }

    /// Candidates at or above the threshold, strongest first: most of the weaker ones then close a circle and cost
    /// nothing more.
    fn scored(&mut self, index: u32, candidates: Candidates, asks: &[Weighed], file: &File) -> Scored {
        self.counts.pairs += candidates.len() as u64;
        let node = &self.nodes[index as usize];
        let news = &mut self.news;
        let nodes = &self.nodes;
        let (entries, generation) = (&self.entries, generation(node.time()));
        let may_spare = |key: Key| {
            let met = entries.get(spared(key)).map_or(0, |entry| entry.crowd(generation).count());
            met < file.corroborated_max
        };
        let (marks, bound) = (&self.marks, Bound::of(node, asks, file));
        // Memory answers to all at once, not to one after the other.
        black_box(candidates.iter().fold(0, |sum: i64, c| sum.wrapping_add(marks[*c as usize].begin)));
        let score = |candidate: u32| {
            if !bound.may_matter(&marks[candidate as usize]) && !cfg!(debug_assertions) {
                return None;
            }
            let earlier = &nodes[candidate as usize];
            let found = weigh(earlier, node, asks, file);
            debug_assert!(found.weight <= bound.with(&marks[candidate as usize]), "bounded from above");
            if !news.is_empty() {
                let to_spare = found.groups_to_spare(earlier, node, file);
                let is_of = |key: Key| earlier.posts.binary_search_by_key(&key, |post| post.key).is_ok();
                for news in news.iter_mut().filter(|news| to_spare & (1 << news.group) != 0) {
                    news.is_spared |= is_of(news.post) && may_spare(news.key);
                }
            }
            let weight = found.weight;
            (weight >= file.theta.0).then(|| (Strength { weight, tie: tie(earlier, node) }, candidate))
        };
        let mut scored: Scored = candidates.into_iter().filter_map(score).collect();
        scored.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(pairs) = &mut self.pairs {
            pairs.extend(scored.iter().map(|(_, candidate)| (*candidate, index)));
        }
        scored
    }

    /// An alert that names no process (a service was installed, a share opened) is taken to belong to the tree that it
    /// is joined to most strongly on its device, so that it does not bridge that tree and another of the same user.
    fn adopt(&mut self, index: u32, scored: &[(Strength, u32)]) -> bool {
        if self.nodes[index as usize].tree_known {
            return false;
        }
        let node = &self.nodes[index as usize];
        let candidates = scored.iter().map(|(_, candidate)| &self.nodes[*candidate as usize]);
        let on_device = candidates.filter(|candidate| candidate.is_on_device_of(node));
        let mut trees = on_device.map(|candidate| candidate.tree().collect::<SmallVec<[Key; 2]>>());
        let Some(tree) = trees.find(|tree| !tree.is_empty()) else { return false };
        self.nodes[index as usize].adopted = tree;
        true
    }

    /// An earlier alert without a tree belongs to the first one that joins it.
    fn give_tree(&mut self, index: u32, candidate: u32) {
        let (node, earlier) = (&self.nodes[index as usize], &self.nodes[candidate as usize]);
        let has_one = earlier.tree().next().is_some();
        if has_one || !earlier.is_on_device_of(node) {
            return;
        }
        let tree: SmallVec<[Key; 2]> = node.tree().collect();
        if !tree.is_empty() {
            self.nodes[candidate as usize].adopted = tree;
            self.undo.adopted.push(candidate);
        }
    }

    /// The nearest alerts that an alert shares a key with.
    pub(crate) fn candidates(&self, index: u32, asks: &[Weighed]) -> Candidates {
        let places = asks.iter().filter_map(|weighed| weighed.place);
        let near = places.flat_map(|place| self.entries.at(place).ring.iter().copied());
        let mut found = Candidates::new();
        // Most are met once: only where a bit is set already is there something to look for.
        let mut met = [0_u64; 4];
        for candidate in near.filter(|candidate| *candidate != index) {
            let (word, bit) = (&mut met[candidate as usize / 64 % 4], 1 << (candidate % 64));
            if *word & bit == 0 || !found.contains(&candidate) {
                *word |= bit;
                found.push(candidate);
            }
        }
        found
    }

    fn connect(&mut self, edge: Edge) {
        let tie = tie(&self.nodes[edge.a as usize], &self.nodes[edge.b as usize]);
        let strength = Strength { weight: edge.weight, tie };
        if self.forest.would_enter(edge.a, edge.b, strength) {
            self.forest.insert(edge.a, edge.b, strength, self.edges.len() as u32);
            self.edges.push(edge);
        }
    }

    /// Whether an alert was among the nearest at one of the keys when a later placed one came.
    pub(crate) fn was_near(&self, earlier: u32, later: u32, keys: &[Key], neighbours: usize) -> bool {
        let is_at = |index: u32, key: Key| {
            self.nodes[index as usize].posts.binary_search_by_key(&key, |post| post.key).is_ok()
        };
        keys.iter().any(|key| {
            let mut ring = Ring::new();
            (0..later)
                .filter(|i| is_at(*i, *key))
                .for_each(|i| _ = enter(&self.nodes, &self.marks, &mut ring, i, neighbours));
            ring.contains(&earlier)
        })
    }

    /// Whether an alert repeats the one before it in its episode so exactly that it was not compared anew.
    pub(crate) fn is_repetition(&self, index: u32) -> bool {
        let node = &self.nodes[index as usize];
        let before = self.nodes[..index as usize].iter().rev().find(|n| n.scene == node.scene);
        node.episode != index && before.is_some_and(|before| node.repeats(before))
    }

    /// The alerts of a component, by event time.
    pub(crate) fn component(&self, node: u32) -> Vec<u32> {
        let mut members: Vec<u32> = self.forest.members(node).collect();
        members
            .sort_unstable_by(|a, b| self.nodes[*a as usize].order().cmp(&self.nodes[*b as usize].order()));
        members
    }

    /// The order of an edge among all edges, strongest first.
    pub(crate) fn strength(&self, edge: &Edge) -> Strength {
        Strength { weight: edge.weight, tie: tie(&self.nodes[edge.a as usize], &self.nodes[edge.b as usize]) }
    }

    /// Drops whole components whose alerts all ended before `t`, and the oldest of them as long as there is an excess;
    /// nothing may be provisional. Returns the alerts dropped.
    /// Components with nodes in one of `ties` go together.
    pub(crate) fn retire(&mut self, t: i64, excess: Excess, ties: &[Vec<u32>]) -> Vec<Arc<Keyed>> {
        let drop_root = self.retired_roots(t, excess, ties);
        if drop_root.is_empty() {
            return Vec::new();
        }
        let mut new_name = vec![NONE; self.nodes.len()];
        let mut kept = 0;
        for v in 0..self.nodes.len() as u32 {
            if !drop_root.contains(&self.forest.root(v)) {
                new_name[v as usize] = kept;
                kept += 1;
            }
        }
        self.rename(&new_name)
    }

    fn retired_roots(&self, t: i64, mut excess: Excess, ties: &[Vec<u32>]) -> HashSet<u32> {
        let head = self.tied_roots(ties);
        let head_of = |root: u32| head.get(&root).copied().unwrap_or(root);
        // For each head: the last end, alerts, roots.
        let mut components: HashMap<u32, (i64, usize, SmallVec<[u32; 1]>)> = HashMap::new();
        for (v, node) in self.nodes.iter().enumerate() {
            let root = self.forest.root(v as u32);
            let (end, size, roots) =
                components.entry(head_of(root)).or_insert((i64::MIN, 0, SmallVec::new()));
            *end = (*end).max(node.end);
            *size += 1;
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        let mut by_age: Vec<(i64, u32)> = components.iter().map(|(head, (end, ..))| (*end, *head)).collect();
        by_age.sort_unstable();
        let mut retired = HashSet::new();
        for (end, head) in by_age {
            if end >= t && excess == Excess::default() {
                break;
            }
            if let Some((_, size, roots)) = components.remove(&head) {
                excess.alerts = excess.alerts.saturating_sub(size);
                excess.incidents = excess.incidents.saturating_sub(roots.len());
                retired.extend(roots);
            }
        }
        retired
    }

    /// For each root that is tied to others the one that stands for all of them.
    fn tied_roots(&self, ties: &[Vec<u32>]) -> HashMap<u32, u32> {
        let mut head: HashMap<u32, u32> = HashMap::new();
        let find = |head: &HashMap<u32, u32>, mut root: u32| {
            while let Some(next) = head.get(&root).filter(|next| **next != root) {
                root = *next;
            }
            root
        };
        for tie in ties {
            let Some(first) = tie.first().map(|node| self.forest.root(*node)) else { continue };
            for node in tie {
                let (a, b) = (find(&head, first), find(&head, self.forest.root(*node)));
                head.insert(a.max(b), a.min(b));
            }
        }
        let roots: Vec<u32> = head.keys().copied().collect();
        roots.into_iter().map(|root| (root, find(&head, root))).collect()
    }

    fn rename(&mut self, new_name: &[u32]) -> Vec<Arc<Keyed>> {
        let mut edge_name = vec![NONE; self.edges.len()];
        let used: std::collections::BTreeSet<u32> = (0..self.nodes.len() as u32)
            .filter(|v| new_name[*v as usize] != NONE)
            .flat_map(|v| self.forest.edge_of(v))
            .collect();
        let mut old_edges: Vec<Option<Edge>> =
            std::mem::take(&mut self.edges).into_iter().map(Some).collect();
        for old in used {
            if let Some(mut edge) = old_edges[old as usize].take() {
                edge_name[old as usize] = self.edges.len() as u32;
                (edge.a, edge.b) = (new_name[edge.a as usize], new_name[edge.b as usize]);
                self.edges.push(edge);
            }
        }
        self.forest = self.forest.keep(new_name, |edge| edge_name[edge as usize]);
        self.entries.rename(new_name);
        self.episodes.retain(|_, episode| new_name[episode.latest as usize] != NONE);
        self.episodes.values_mut().for_each(|episode| episode.latest = new_name[episode.latest as usize]);
        let (kept, dropped): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.nodes).into_iter().enumerate().partition(|(v, _)| new_name[*v] != NONE);
        self.nodes = kept
            .into_iter()
            .map(|(_, node)| Node { episode: new_name[node.episode as usize], ..node })
            .collect();
        self.mark();
        dropped.into_iter().map(|(_, node)| node.alert).collect()
    }

    /// Makes the marks of all nodes, which a snapshot does not have.
    pub(crate) fn mark(&mut self) {
        self.marks.clear();
        for node in &self.nodes {
            self.marks.push(Mark::of(node, self.marks.last()));
        }
    }

    pub(crate) fn entries(&self) -> usize {
        self.entries.len()
    }
}

/// All that placing an alert reads on the board, and with each key what is spared of it.
fn reads(alert: &Keyed, resolved: &Resolved) -> Vec<Key> {
    let common = resolved.asks.iter().flat_map(|ask| ask.common().iter().map(|(key, _)| *key));
    let asked = resolved.asks.iter().map(|ask| ask.post.key);
    let is_asked = |key: Key| resolved.asks.binary_search_by_key(&key, |ask| ask.post.key).is_ok();
    let posts = resolved.posts.iter().map(|post| post.key).filter(|key| !is_asked(*key));
    asked.chain(common).chain(posts).chain([alert.rule_key, alert.title_key, resolved.scene]).collect()
}

/// Puts an alert into a ring; says which one made room for it.
fn enter(
    nodes: &[Node],
    marks: &[Mark],
    ring: &mut Ring,
    index: u32,
    neighbours: usize,
) -> Option<Displaced> {
    let node = &nodes[index as usize];
    let is_latest = index == 0 || marks[index as usize - 1].latest < node.begin;
    let is_before = |other: &u32| match marks[*other as usize].begin.cmp(&node.begin) {
        Ordering::Equal => nodes[*other as usize].order() < node.order(),
        by_time => by_time.is_lt(),
    };
    // Nothing is of an episode that it begins, and of any other the ring has one alert at most.
    let is_of_episode = |other: &u32| nodes[*other as usize].episode == node.episode;
    let repeated = if node.episode == index { None } else { ring.iter().position(is_of_episode) };
    let leaving = repeated.or_else(|| (ring.len() >= neighbours).then_some(0));
    let place = match ring.last() {
        Some(last) if !is_latest && !is_before(last) => ring.partition_point(is_before),
        _ => ring.len(),
    };
    let Some(position) = leaving else {
        ring.insert(place, index);
        return None;
    };
    // One that is older than all in a full ring makes room itself.
    if repeated.is_none() && place == 0 {
        return Some(Displaced { node: index, position: 0 });
    }
    let node = ring.remove(position);
    ring.insert(place - usize::from(position < place), index);
    Some(Displaced { node, position: position as u32 })
}

/// Whether an entity is part of an organisation, so that its name can tell of which part.
fn is_placed(entity: &Entity) -> bool {
    matches!(entity.entity_type, EntityType::Device | EntityType::User | EntityType::Mailbox)
}

/// What is held beyond the limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Excess {
    pub(crate) alerts: usize,
    pub(crate) incidents: usize,
}

fn restore<T>(map: &mut HashMap<Key, T>, changes: Vec<(Key, Option<T>)>) {
    for (key, before) in changes.into_iter().rev() {
        match before {
            Some(value) => drop(map.insert(key, value)),
            None => drop(map.remove(&key)),
        }
    }
}

/// Crowds of alerts are kept for this generation and the one before.
fn generation(t: Time) -> i64 {
    t.0.div_euclid(GENERATION_US)
}

/// A day, whatever the epochs of telemetry: alerts are far fewer than events, and a hub must not be forgotten
/// between two of them.
const GENERATION_US: i64 = 86_400_000_000;

/// Breaks ties between equal weights by the alerts' ids, whatever order they came in.
fn tie(a: &Node, b: &Node) -> u64 {
    let (low, high) = (a.hash.min(b.hash), a.hash.max(b.hash));
    mix(mix(low) ^ high)
}

impl Resolved {
    fn party_of(&self, entity: u16) -> Option<Party> {
        // Entities are numbered from 1 in the order of the alert; parties are unique, so look by key.
        let keys: SmallVec<[Key; 8]> =
            self.asks.iter().filter(|ask| ask.entity == entity).map(|ask| ask.post.key).collect();
        self.parties.iter().copied().find(|party| keys.contains(&party.key))
    }
}

impl Undo {
    /// The nodes whose component or joins changed.
    pub(crate) fn touched(&self) -> impl Iterator<Item = u32> + '_ {
        self.forest.touched()
    }
}
