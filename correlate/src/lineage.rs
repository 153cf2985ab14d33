//! Process lineage: who started whom, so that alerts of one process tree join by the tree and not by the host.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use event::Time;
use hashbrown::{HashMap, HashTable};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;
use uuid::Uuid;

use crate::evidence::Key;
use crate::fixed::{ONE, rarity};
use crate::parameters::{File, Weighing};

/// There may be a million of them: images are in one place, most names are GUIDs, and most have no children.
#[derive(Debug, Clone)]
struct Process {
    key: Key,
    name: Name,
    /// Lower-case base name of the image, the smallest seen (there should be one); no text: not known.
    image: TextId,
    /// Earliest proof of a parent; the smallest pair wins, whatever came first.
    parent: Option<(Time, Key)>,
    /// The earliest children by time, then key: enough of them to know a crowd.
    #[expect(clippy::box_collection, reason = "one word where there are none, not three")]
    children: Option<Box<Vec<(Time, Key)>>>,
    /// Generation of eviction: epoch of the latest mention.
    seen: i64,
}

/// The name of a process.
#[derive(Debug, Clone)]
enum Name {
    /// In braces and lower case.
    Guid(Uuid),
    Text(Box<str>),
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
    /// Processes forgotten because the table was full.
    pub(crate) evicted: u64,
}

/// Processes by key, close together.
#[derive(Debug, Clone, Default)]
struct Processes {
    all: Vec<Process>,
    /// Their places, by key.
    places: HashTable<u32>,
}

impl Processes {
    fn len(&self) -> usize {
        self.all.len()
    }

    fn iter(&self) -> impl Iterator<Item = &Process> {
        self.all.iter()
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut Process> {
        self.all.iter_mut()
    }

    fn get(&self, key: Key) -> Option<&Process> {
        let place = self.places.find(key.0, |place| self.all[*place as usize].key == key)?;
        Some(&self.all[*place as usize])
    }

    /// The process with that key, which is made where there is none.
    fn entry(&mut self, key: Key) -> &mut Process {
        let all = &self.all;
        let place = match self.places.find(key.0, |place| all[*place as usize].key == key) {
            Some(place) => *place,
            None => self.insert(Process::new(key)),
        };
        &mut self.all[place as usize]
    }

    fn insert(&mut self, process: Process) -> u32 {
        let (key, place) = (process.key, self.all.len() as u32);
        // By an eighth, not by twice: there may be a million.
        if self.all.len() == self.all.capacity() {
            self.all.reserve_exact(self.all.len() / 8 + 1_024);
        }
        self.all.push(process);
        let all = &self.all;
        self.places.insert_unique(key.0, place, |place| all[*place as usize].key.0);
        place
    }

    fn retain(&mut self, keep: impl Fn(&Process) -> bool) {
        let all = std::mem::take(&mut self.all);
        self.places.clear();
        for process in all.into_iter().filter(keep) {
            self.insert(process);
        }
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
        let mut changed = self.mention(process, time);
        let Some(parent) = parent.filter(|p| p.key != process.key) else { return changed };
        changed |= self.mention(parent, time);
        let child = self.processes.entry(process.key);
        if child.parent.is_none_or(|known| (time, parent.key) < known) {
            child.parent = Some((time, parent.key));
            changed = true;
        }
        self.processes.entry(parent.key).add_child(time, process.key) || changed
    }

    fn mention(&mut self, mention: &Mention<'_>, time: Time) -> bool {
        let process = self.processes.entry(mention.key);
        process.seen = process.seen.max(time.0);
        if process.name.is_empty() {
            process.name = Name::of(mention.name);
        }
        let Some(image) = mention.image.as_deref() else { return false };
        let is_new = process.image == 0 || image < self.texts.get(process.image).as_ref();
        if is_new {
            process.image = self.texts.id(image);
        }
        is_new
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
    pub(crate) fn bound(&mut self, limit: usize) {
        if self.processes.len() <= limit {
            return;
        }
        // A quarter at once, so that the cost of finding them is spread over many insertions.
        let excess = self.processes.len() - (limit - limit / 4);
        let mut by_age: BTreeMap<(i64, Key), ()> = BTreeMap::new();
        for process in self.processes.iter() {
            by_age.insert((process.seen, process.key), ());
            if by_age.len() > excess {
                by_age.pop_last();
            }
        }
        self.processes.retain(|process| !by_age.contains_key(&(process.seen, process.key)));
        self.evicted += excess as u64;
        self.forget_texts();
    }

    /// Forgets processes last mentioned before `t`, which are beyond the horizon of any join.
    pub(crate) fn forget_before(&mut self, t: Time) {
        let before = self.processes.len();
        self.processes.retain(|process| process.seen >= t.0);
        if self.processes.len() < before {
            self.forget_texts();
        }
    }

    /// Lets go of the texts of forgotten processes, once they may be most of them.
    fn forget_texts(&mut self) {
        if self.texts.texts.len() < 1_024 || self.texts.texts.len() < self.processes.len() / 8 {
            return;
        }
        let old = std::mem::take(&mut self.texts);
        for process in self.processes.iter_mut() {
            process.image = self.texts.id(old.get(process.image));
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
    fn new(key: Key) -> Self {
        Self { key, name: Name::Text("".into()), image: 0, parent: None, children: None, seen: 0 }
    }

    fn children(&self) -> &[(Time, Key)] {
        self.children.as_deref().map_or(&[], Vec::as_slice)
    }

    fn add_child(&mut self, time: Time, child: Key) -> bool {
        let children = self.children.get_or_insert_default();
        if let Some((known, _)) = children.iter_mut().find(|(_, key)| *key == child) {
            if *known <= time {
                return false;
            }
            *known = time;
        } else if children.len() >= CHILDREN_MAX && children.last().is_some_and(|last| *last < (time, child))
        {
            return false;
        } else {
            children.push((time, child));
        }
        children.sort_unstable();
        children.truncate(CHILDREN_MAX);
        true
    }
}

/// A process in a snapshot: with its texts.
#[derive(Serialize, Deserialize)]
struct Written<T, C> {
    name: T,
    image: Option<T>,
    parent: Option<(Time, Key)>,
    children: C,
    seen: i64,
}

/// A lineage in a snapshot: in the order of keys, so that equal states have equal bytes.
#[derive(Serialize, Deserialize)]
struct WrittenLineage<P> {
    processes: P,
    evicted: u64,
}

impl Serialize for Lineage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Processes<'a>(&'a Lineage);
        impl Serialize for Processes<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let Processes(lineage) = self;
                let mut sorted: Vec<&Process> = lineage.processes.iter().collect();
                sorted.sort_unstable_by_key(|process| process.key);
                serializer.collect_seq(sorted.into_iter().map(|process| {
                    let written = Written {
                        name: process.name.text(),
                        image: lineage.image_of(process).map(|image| Cow::Borrowed(image.as_ref())),
                        parent: process.parent,
                        children: process.children(),
                        seen: process.seen,
                    };
                    (process.key, written)
                }))
            }
        }
        WrittenLineage { processes: Processes(self), evicted: self.evicted }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Lineage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Processes = Vec<(Key, Written<String, Vec<(Time, Key)>>)>;
        let written = WrittenLineage::<Processes>::deserialize(deserializer)?;
        let mut lineage = Self { evicted: written.evicted, ..Self::default() };
        for (key, process) in written.processes {
            let process = Process {
                key,
                name: Name::of(&process.name),
                image: process.image.map_or(0, |image| lineage.texts.id(&image)),
                parent: process.parent,
                children: (!process.children.is_empty()).then(|| Box::new(process.children)),
                seen: process.seen,
            };
            lineage.processes.insert(process);
        }
        Ok(lineage)
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
        }
        let bytes = event::snapshot::write(b"asterc02", &lineage);
        let mut restored: Lineage = event::snapshot::read(b"asterc02", &bytes).unwrap();
        assert_eq!(event::snapshot::write(b"asterc02", &restored), bytes);
        assert_eq!(steps(&restored, 5_000, 9_999), steps(&lineage, 5_000, 9_999));
        assert_eq!(restored.image(Key(5_000)), lineage.image(Key(5_000)));
        restored.bound(100);
        assert!(restored.texts.texts.len() < 300, "{}", restored.texts.texts.len());
        assert_eq!(restored.image(Key(5_999)).map(AsRef::as_ref), Some("i4999.exe"));
    }

    #[test]
    fn a_full_table_forgets_the_oldest() {
        let mut lineage = Lineage::default();
        for id in 0..10 {
            lineage.learn(&mention(id, "a.exe"), None, Time(id as i64));
        }
        lineage.bound(8);
        assert_eq!((lineage.len(), lineage.evicted), (6, 4));
        assert_eq!(steps(&lineage, 3, 20), []);
        assert_eq!(steps(&lineage, 4, 20), [(4, 0)]);
    }
}
