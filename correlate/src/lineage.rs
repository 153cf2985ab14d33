//! Process lineage: who started whom, so that alerts of one process tree join by the tree and not by the host.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use event::{Cold, Shelf, Time};
use hashbrown::{HashMap, HashTable};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;
use uuid::Uuid;

use crate::evidence::Key;
use crate::fixed::{ONE, rarity};
use crate::parameters::{File, Weighing};

/// There may be a million of them: images are in one place, most names are GUIDs, and most have no children.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Process {
    name: Name,
    /// Lower-case base name of the image, the smallest seen (there should be one); no text: not known.
    image: TextId,
    /// Earliest proof of a parent; the smallest pair wins, whatever came first.
    parent: Option<(Time, Key)>,
    /// The earliest children by time, then key: enough of them to know a crowd.
    #[expect(clippy::box_collection, reason = "one word where there are none, not three")]
    children: Option<Box<Vec<(Time, Key)>>>,
}

/// The name of a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Name {
    /// In braces and lower case.
    Guid(#[serde(with = "guid")] Uuid),
    Text(Box<str>),
}

impl Default for Name {
    fn default() -> Self {
        Self::Text("".into())
    }
}

impl Name {
    fn of(text: &str) -> Self {
        // Whatever is written otherwise keeps its form.
        let guid = Uuid::try_parse(text).ok().map(Name::Guid).filter(|name| name.text() == text);
        guid.unwrap_or_else(|| Name::Text(text.into()))
    }

    fn is_empty(&self) -> bool {
        matches!(self, Name::Text(text) if text.is_empty())
    }

    fn text(&self) -> Cow<'_, str> {
        match self {
            Name::Guid(id) => id.braced().to_string().into(),
            Name::Text(text) => Cow::Borrowed(text),
        }
    }
}

/// In bytes a GUID is a number.
mod guid {
    use super::{Deserialize, Deserializer, Serialize, Serializer, Uuid};

    pub(super) fn serialize<S: Serializer>(guid: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
        guid.as_u128().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Uuid, D::Error> {
        u128::deserialize(deserializer).map(Uuid::from_u128)
    }
}

/// A text of [`Texts`].
type TextId = u32;

/// Images of processes, each once.
#[derive(Debug, Clone)]
struct Texts {
    texts: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, TextId>,
}

impl Default for Texts {
    /// The empty text is the first.
    fn default() -> Self {
        let empty: Arc<str> = Arc::from("");
        Self { texts: vec![Arc::clone(&empty)], ids: HashMap::from([(empty, 0)]) }
    }
}

impl Texts {
    fn id(&mut self, text: &str) -> TextId {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let (id, text) = (self.texts.len() as TextId, Arc::<str>::from(text));
        self.texts.push(Arc::clone(&text));
        self.ids.insert(text, id);
        id
    }

    fn get(&self, id: TextId) -> &Arc<str> {
        &self.texts[id as usize]
    }
}

/// As many children as this are a crowd; later ones are not kept.
const CHILDREN_MAX: usize = 256;

/// The processes of a tenant. Over its limit, the processes mentioned longest ago go, and are counted.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lineage {
    processes: Processes,
    texts: Texts,
    /// Mentions since processes that nobody speaks of were last made cold.
    mentions: usize,
    /// Processes forgotten because the table was full.
    pub(crate) evicted: u64,
}

/// Processes by key. Few are looked at again after their first minutes.
#[derive(Debug, Clone, Default)]
struct Processes {
    keys: Vec<Key>,
    /// Event time of the latest mention of each.
    seen: Vec<i64>,
    pages: Vec<Cold<Vec<Process>>>,
    /// The place of each, by key.
    places: HashTable<u32>,
}

/// Processes that are cold together.
const PAGE: usize = if cfg!(test) { 16 } else { 64 };

/// A table that grows makes room for one in so many that it has: twice as many would be megabytes that wait for a day.
const ROOM_SHARE: usize = 8;

/// Processes that nobody has spoken of while so many were mentioned are cold.
const COLD_AFTER: usize = if cfg!(test) { 64 } else { 1 << 14 };

impl Processes {
    fn len(&self) -> usize {
        self.keys.len()
    }

    /// Each with its key and the time of its latest mention, in no order.
    fn iter(&self) -> impl Iterator<Item = (Key, i64)> {
        self.keys.iter().copied().zip(self.seen.iter().copied())
    }

    fn place(&self, key: Key) -> Option<usize> {
        self.places.find(key.0, |place| self.keys[*place as usize] == key).map(|place| *place as usize)
    }

    fn get(&self, key: Key) -> Option<&Process> {
        self.place(key).map(|place| self.at(place))
    }

    fn at(&self, place: usize) -> &Process {
        &self.pages[place / PAGE].get()[place % PAGE]
    }

    fn at_mut(&mut self, place: usize) -> &mut Process {
        &mut self.pages[place / PAGE].get_mut()[place % PAGE]
    }

    /// The place of the process with that key, which is made where there is none.
    fn place_of(&mut self, key: Key) -> usize {
        self.place(key).unwrap_or_else(|| self.insert(key, i64::MIN, Process::default()))
    }

    fn insert(&mut self, key: Key, seen: i64, process: Process) -> usize {
        let place = self.keys.len();
        if place == self.keys.capacity() {
            let room = PAGE + place / ROOM_SHARE;
            self.keys.reserve_exact(room);
            self.seen.reserve_exact(room);
        }
        self.keys.push(key);
        self.seen.push(seen);
        if place.is_multiple_of(PAGE) {
            self.pages.push(Cold::new(Vec::with_capacity(PAGE)));
        }
        self.pages[place / PAGE].get_mut().push(process);
        let keys = &self.keys;
        self.places.insert_unique(key.0, place as u32, |place| keys[*place as usize].0);
        place
    }

    fn retain(&mut self, keep: impl Fn(Key, i64) -> bool, shelf: &Shelf) {
        let old = std::mem::take(self);
        let all = old.keys.chunks(PAGE).zip(old.seen.chunks(PAGE)).zip(old.pages);
        for ((keys, seen), page) in all {
            for ((key, seen), process) in keys.iter().zip(seen).zip(page.into_inner()) {
                if keep(*key, *seen) {
                    let place = self.insert(*key, *seen, process);
                    if place % PAGE == PAGE - 1 {
                        self.pages[place / PAGE].freeze(shelf);
                    }
                }
            }
        }
    }

    fn cool(&mut self, shelf: &Shelf) {
        self.pages.iter_mut().for_each(|page| page.cool(shelf));
    }
}

/// A process of an alert, or an ancestor of one.
#[derive(Debug, Clone)]
pub(crate) struct Ancestor {
    pub(crate) key: Key,
    pub(crate) steps: u8,
    pub(crate) rarity: u32,
    pub(crate) name: Arc<str>,
}

/// What a row says about a process.
#[derive(Debug, Clone)]
pub(crate) struct Mention<'a> {
    pub(crate) key: Key,
    pub(crate) name: &'a str,
    /// Lower-case base name of the image.
    pub(crate) image: Option<String>,
}

impl Lineage {
    pub(crate) fn len(&self) -> usize {
        self.processes.len()
    }

    /// Learns a process, its image and its parent; `true` where any of it is new.
    pub(crate) fn learn(&mut self, process: &Mention<'_>, parent: Option<&Mention<'_>>, time: Time) -> bool {
        self.mentions += 1;
        let mut changed = self.mention(process, time);
        let Some(parent) = parent.filter(|p| p.key != process.key) else { return changed };
        changed |= self.mention(parent, time);
        let child = self.processes.place_of(process.key);
        if self.processes.at(child).parent.is_none_or(|known| (time, parent.key) < known) {
            self.processes.at_mut(child).parent = Some((time, parent.key));
            changed = true;
        }
        let parent = self.processes.place_of(parent.key);
        if self.processes.at(parent).may_add_child(time, process.key) {
            self.processes.at_mut(parent).add_child(time, process.key);
            changed = true;
        }
        changed
    }

    /// From time to time processes that nobody speaks of go on a shelf.
    pub(crate) fn cool(&mut self, shelf: &Shelf) {
        if self.mentions >= COLD_AFTER {
            self.mentions = 0;
            self.processes.cool(shelf);
        }
    }

    fn mention(&mut self, mention: &Mention<'_>, time: Time) -> bool {
        let place = self.processes.place_of(mention.key);
        let seen = &mut self.processes.seen[place];
        *seen = time.0.max(*seen);
        let process = self.processes.at(place);
        let is_new = |image: &&str| process.image == 0 || **image < **self.texts.get(process.image);
        let image = mention.image.as_deref().filter(is_new);
        let has_name = !process.name.is_empty();
        if has_name && image.is_none() {
            return false;
        }
        let image = image.map(|image| self.texts.id(image));
        let process = self.processes.at_mut(place);
        if !has_name {
            process.name = Name::of(mention.name);
        }
        process.image = image.unwrap_or(process.image);
        image.is_some()
    }

    /// Lower-case base name of a process's image.
    pub(crate) fn image(&self, key: Key) -> Option<&Arc<str>> {
        self.image_of(self.processes.get(key)?)
    }

    fn image_of(&self, process: &Process) -> Option<&Arc<str>> {
        (process.image != 0).then(|| self.texts.get(process.image))
    }

    /// Whether the parent of a process is known at time `t`.
    pub(crate) fn is_known(&self, key: Key, t: Time) -> bool {
        self.processes.get(key).and_then(|p| p.parent).is_some_and(|(time, _)| time <= t)
    }

    /// The process that started this one, as far as known at time `t`.
    pub(crate) fn parent(&self, key: Key, t: Time) -> Option<Key> {
        self.processes
            .get(key)
            .and_then(|p| p.parent)
            .filter(|(time, _)| *time <= t)
            .map(|(_, parent)| parent)
    }

    /// The process and its ancestors at time `t`, nearest first, up to the parameter's number of steps and not
    /// beyond what starts everything.
    pub(crate) fn ancestry(
        &self,
        key: Key,
        t: Time,
        file: &File,
        weighing: &Weighing,
    ) -> SmallVec<[Ancestor; 6]> {
        let mut found: SmallVec<[Ancestor; 6]> = SmallVec::new();
        let mut at = Some(key);
        while let Some(key) = at.take() {
            let Some(process) = self.processes.get(key) else { break };
            let rarity = self.rarity(process, t, file, weighing);
            let steps = found.len() as u8;
            if rarity == 0 || found.iter().any(|a| a.key == key) {
                break;
            }
            found.push(Ancestor { key, steps, rarity, name: process.name.text().into() });
            if steps < file.tree.steps {
                at = process.parent.filter(|(time, _)| *time <= t).map(|(_, parent)| parent);
            }
        }
        found
    }

    /// Whether the table knows the process, and it starts everything.
    pub(crate) fn is_session_root(&self, key: Key, t: Time, file: &File, weighing: &Weighing) -> bool {
        self.processes.get(key).is_some_and(|p| self.rarity(p, t, file, weighing) == 0)
    }

    /// Forgets the processes that were mentioned longest ago until the table is within its limit.
    pub(crate) fn bound(&mut self, limit: usize, shelf: &Shelf) {
        if self.processes.len() <= limit {
            return;
        }
        // A quarter at once, so that the cost of finding them is spread over many insertions.
        let excess = self.processes.len() - (limit - limit / 4);
        let mut by_age: BTreeMap<(i64, Key), ()> = BTreeMap::new();
        for (key, seen) in self.processes.iter() {
            by_age.insert((seen, key), ());
            if by_age.len() > excess {
                by_age.pop_last();
            }
        }
        self.processes.retain(|key, seen| !by_age.contains_key(&(seen, key)), shelf);
        self.evicted += excess as u64;
        self.forget_texts(shelf);
    }

    /// Forgets processes last mentioned before `t`, which are beyond the horizon of any join.
    pub(crate) fn forget_before(&mut self, t: Time, shelf: &Shelf) {
        let before = self.processes.len();
        self.processes.retain(|_, seen| seen >= t.0, shelf);
        if self.processes.len() < before {
            self.forget_texts(shelf);
        }
    }

    /// Lets go of the texts of forgotten processes, once they may be most of them.
    fn forget_texts(&mut self, shelf: &Shelf) {
        if self.texts.texts.len() < 1_024 || self.texts.texts.len() < self.processes.len() / 8 {
            return;
        }
        let old = std::mem::take(&mut self.texts);
        for page in &mut self.processes.pages {
            for process in page.get_mut() {
                process.image = self.texts.id(old.get(process.image));
            }
            page.freeze(shelf);
        }
    }

    fn rarity(&self, process: &Process, t: Time, file: &File, weighing: &Weighing) -> u32 {
        if self.image_of(process).is_some_and(|image| file.is_session_root(image)) {
            return 0;
        }
        let children = process.children().partition_point(|(time, _)| *time <= t);
        rarity(children as u32, weighing.free, weighing.population).min(ONE)
    }
}

impl Process {
    fn children(&self) -> &[(Time, Key)] {
        self.children.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Whether a child is unknown, or was known to begin later, and belongs to the earliest.
    fn may_add_child(&self, time: Time, child: Key) -> bool {
        let children = self.children();
        match children.iter().find(|(_, key)| *key == child) {
            Some((known, _)) => time < *known,
            None => children.len() < CHILDREN_MAX || children.last().is_none_or(|last| (time, child) < *last),
        }
    }

    fn add_child(&mut self, time: Time, child: Key) {
        let children = self.children.get_or_insert_default();
        match children.iter_mut().find(|(_, key)| *key == child) {
            Some((known, _)) => *known = time,
            None => children.push((time, child)),
        }
        children.sort_unstable();
        children.truncate(CHILDREN_MAX);
    }
}

/// A lineage in a snapshot, in the order in which processes were first mentioned.
#[derive(Serialize, Deserialize)]
struct Written<K, S, P, T> {
    keys: K,
    seen: S,
    pages: P,
    texts: T,
    evicted: u64,
}

impl Serialize for Lineage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { processes: Processes { keys, seen, pages, .. }, texts, evicted, .. } = self;
        Written { keys, seen, pages, texts: &texts.texts, evicted: *evicted }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Lineage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Read = Written<Vec<Key>, Vec<i64>, Vec<Cold<Vec<Process>>>, Vec<Arc<str>>>;
        let Written { keys, seen, pages, texts, evicted } = Read::deserialize(deserializer)?;
        let is_known = |process: &Process| (process.image as usize) < texts.len();
        let fits = |(keys, page): (&[Key], &Cold<Vec<Process>>)| {
            let processes = page.get();
            keys.len() == processes.len() && processes.iter().all(is_known)
        };
        let is_whole = keys.len() == seen.len() && keys.len().div_ceil(PAGE) == pages.len();
        if !is_whole || !keys.chunks(PAGE).zip(&pages).all(fits) {
            return Err(serde::de::Error::custom("processes that do not fit together"));
        }
        let mut places = HashTable::with_capacity(keys.len());
        for (key, place) in keys.iter().zip(0..) {
            places.insert_unique(key.0, place, |place| keys[*place as usize].0);
        }
        let ids = texts.iter().zip(0..).map(|(text, id)| (Arc::clone(text), id)).collect();
        Ok(Self {
            processes: Processes { keys, seen, pages, places },
            texts: Texts { texts, ids },
            mentions: 0,
            evicted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Evidence;
    use crate::parameters::Parameters;

    fn mention(id: u64, image: &str) -> Mention<'static> {
        Mention { key: Key(id), name: "p", image: Some(image.to_owned()) }
    }

    fn steps(lineage: &Lineage, id: u64, t: i64) -> Vec<(u64, u8)> {
        let file = Parameters::builtin().unwrap().file;
        let weighing = *file.weighing(Evidence::Process);
        lineage.ancestry(Key(id), Time(t), &file, &weighing).iter().map(|a| (a.key.0, a.steps)).collect()
    }

    #[test]
    fn a_tree_ends_below_what_starts_everything() {
        let mut lineage = Lineage::default();
        lineage.learn(&mention(2, "powershell.exe"), Some(&mention(1, "explorer.exe")), Time(1));
        lineage.learn(&mention(3, "cmd.exe"), Some(&mention(2, "powershell.exe")), Time(2));
        assert_eq!(steps(&lineage, 3, 2), [(3, 0), (2, 1)]);
        assert_eq!(steps(&lineage, 3, 1), [(3, 0)], "at time 1 its parent was not known");
    }

    #[test]
    fn a_parent_of_a_crowd_is_no_family() {
        let mut lineage = Lineage::default();
        for child in 0..256 {
            lineage.learn(
                &mention(100 + child, "tool.exe"),
                Some(&mention(1, "launcher.exe")),
                Time(child as i64),
            );
        }
        assert_eq!(steps(&lineage, 100, 5), [(100, 0), (1, 1)]);
        assert_eq!(steps(&lineage, 100, 300), [(100, 0)]);
    }

    #[test]
    fn names_come_back_as_they_were() {
        for (text, is_guid) in [
            ("{5b5a2f36-1c2d-64d0-0100-00000000f400}", true),
            ("{5B5A2F36-1C2D-64D0-0100-00000000F400}", false),
            ("{5b5a2f361c2d64d0010000000000f400}", false),
            ("{5b5a2f36-1c2d-64d0-0100-00000000f40}", false),
            ("5b5a2f36-1c2d-64d0-0100-00000000f400", false),
            ("{-----}", false),
            ("{+b5a2f36-1c2d-64d0-0100-00000000f400}", false),
            ("ws-1/4711@2026-03-02t07:00:00z", false),
            ("", false),
        ] {
            let name = Name::of(text);
            assert_eq!((name.text().as_ref(), matches!(name, Name::Guid(_))), (text, is_guid));
        }
    }

    #[test]
    fn a_loop_ends() {
        let mut lineage = Lineage::default();
        lineage.learn(&mention(1, "a.exe"), Some(&mention(2, "b.exe")), Time(1));
        lineage.learn(&mention(2, "b.exe"), Some(&mention(1, "a.exe")), Time(1));
        assert_eq!(steps(&lineage, 1, 1), [(1, 0), (2, 1)]);
    }

    #[test]
    fn a_snapshot_holds_the_same_and_forgotten_texts_go() {
        let mut lineage = Lineage::default();
        for id in 0..5_000 {
            let parent = mention(id / 10, &format!("i{}.exe", id / 10));
            lineage.learn(&mention(id + 1_000, &format!("i{id}.exe")), Some(&parent), Time(id as i64));
            lineage.cool(&Shelf::in_memory());
        }
        let bytes = event::snapshot::write(b"asterc02", &lineage);
        let mut restored: Lineage = event::snapshot::read(b"asterc02", &bytes).unwrap();
        assert_eq!(event::snapshot::write(b"asterc02", &restored), bytes);
        assert_eq!(steps(&restored, 5_000, 9_999), steps(&lineage, 5_000, 9_999));
        assert_eq!(restored.image(Key(5_000)), lineage.image(Key(5_000)));
        assert!(lineage.processes.pages.iter().filter(|page| page.is_cold()).count() > 300);
        // One that was cold is another's parent late.
        lineage.learn(&mention(99_999, "late.exe"), Some(&mention(2_000, "i1000.exe")), Time(6_000));
        assert_eq!(steps(&lineage, 99_999, 9_999)[..2], [(99_999, 0), (2_000, 1)]);
        restored.bound(100, &Shelf::in_memory());
        assert!(restored.texts.texts.len() < 300, "{}", restored.texts.texts.len());
        assert_eq!(restored.image(Key(5_999)).map(AsRef::as_ref), Some("i4999.exe"));
    }

    #[test]
    fn a_full_table_forgets_the_oldest() {
        let mut lineage = Lineage::default();
        for id in 0..10 {
            lineage.learn(&mention(id, "a.exe"), None, Time(id as i64));
        }
        lineage.bound(8, &Shelf::in_memory());
        assert_eq!((lineage.len(), lineage.evicted), (6, 4));
        assert_eq!(steps(&lineage, 3, 20), []);
        assert_eq!(steps(&lineage, 4, 20), [(4, 0)]);
    }
}
