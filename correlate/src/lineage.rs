//! Process lineage: who started whom, so that alerts of one process tree join by the tree and not by the host.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use event::Time;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::evidence::Key;
use crate::fixed::{ONE, rarity};
use crate::parameters::{File, Weighing};
use crate::snapshot::sorted;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Process {
    name: Arc<str>,
    /// Lower-case base name of the image, the smallest seen (there should be one).
    image: Option<Arc<str>>,
    /// Earliest proof of a parent; the smallest pair wins, whatever came first.
    parent: Option<(Time, Key)>,
    /// The earliest children by time, then key: enough of them to know a crowd.
    children: SmallVec<[(Time, Key); 2]>,
    /// Generation of eviction: epoch of the latest mention.
    seen: i64,
}

/// As many children as this are a crowd; later ones are not kept.
const CHILDREN_MAX: usize = 256;

/// The processes of a tenant. Over its limit, the processes mentioned longest ago go, and are counted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Lineage {
    #[serde(with = "sorted")]
    processes: HashMap<Key, Process>,
    /// Processes forgotten because the table was full.
    pub(crate) evicted: u64,
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
pub(crate) struct Mention {
    pub(crate) key: Key,
    pub(crate) name: String,
    /// Lower-case base name of the image.
    pub(crate) image: Option<String>,
}

impl Lineage {
    pub(crate) fn len(&self) -> usize {
        self.processes.len()
    }

    /// Learns a process, its image and its parent; `true` where any of it is new.
    pub(crate) fn learn(&mut self, process: &Mention, parent: Option<&Mention>, time: Time) -> bool {
        let mut changed = self.mention(process, time);
        let Some(parent) = parent.filter(|p| p.key != process.key) else { return changed };
        changed |= self.mention(parent, time);
        let child = self.processes.entry(process.key).or_default();
        if child.parent.is_none_or(|known| (time, parent.key) < known) {
            child.parent = Some((time, parent.key));
            changed = true;
        }
        self.processes.entry(parent.key).or_default().add_child(time, process.key) || changed
    }

    fn mention(&mut self, mention: &Mention, time: Time) -> bool {
        let process = self.processes.entry(mention.key).or_default();
        process.seen = process.seen.max(time.0);
        if process.name.is_empty() {
            process.name = mention.name.as_str().into();
        }
        let Some(image) = mention.image.as_deref() else { return false };
        let is_new = process.image.as_deref().is_none_or(|known| image < known);
        if is_new {
            process.image = Some(image.into());
        }
        is_new
    }

    /// Lower-case base name of a process's image.
    pub(crate) fn image(&self, key: Key) -> Option<&Arc<str>> {
        self.processes.get(&key)?.image.as_ref()
    }

    /// Whether the parent of a process is known at time `t`.
    pub(crate) fn is_known(&self, key: Key, t: Time) -> bool {
        self.processes.get(&key).and_then(|p| p.parent).is_some_and(|(time, _)| time <= t)
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
            let Some(process) = self.processes.get(&key) else { break };
            let rarity = process.rarity(t, file, weighing);
            let steps = found.len() as u8;
            if rarity == 0 || found.iter().any(|a| a.key == key) {
                break;
            }
            found.push(Ancestor { key, steps, rarity, name: Arc::clone(&process.name) });
            if steps < file.tree.steps {
                at = process.parent.filter(|(time, _)| *time <= t).map(|(_, parent)| parent);
            }
        }
        found
    }

    /// Whether the table knows the process, and it starts everything.
    pub(crate) fn is_session_root(&self, key: Key, t: Time, file: &File, weighing: &Weighing) -> bool {
        self.processes.get(&key).is_some_and(|p| p.rarity(t, file, weighing) == 0)
    }

    /// Forgets the processes that were mentioned longest ago until the table is within its limit.
    pub(crate) fn bound(&mut self, limit: usize) {
        if self.processes.len() <= limit {
            return;
        }
        // A quarter at once, so that the cost of finding them is spread over many insertions.
        let excess = self.processes.len() - (limit - limit / 4);
        let mut by_age: BTreeMap<(i64, Key), ()> = BTreeMap::new();
        for (key, process) in &self.processes {
            by_age.insert((process.seen, *key), ());
            if by_age.len() > excess {
                by_age.pop_last();
            }
        }
        for (_, key) in by_age.keys() {
            self.processes.remove(key);
        }
        self.evicted += excess as u64;
    }

    /// Forgets processes last mentioned before `t`, which are beyond the horizon of any join.
    pub(crate) fn forget_before(&mut self, t: Time) {
        self.processes.retain(|_, process| process.seen >= t.0);
    }
}

impl Process {
    fn add_child(&mut self, time: Time, child: Key) -> bool {
        if let Some((known, _)) = self.children.iter_mut().find(|(_, key)| *key == child) {
            if *known <= time {
                return false;
            }
            *known = time;
        } else if self.children.len() >= CHILDREN_MAX
            && self.children.last().is_some_and(|last| *last < (time, child))
        {
            return false;
        } else {
            self.children.push((time, child));
        }
        self.children.sort_unstable();
        self.children.truncate(CHILDREN_MAX);
        true
    }

    fn rarity(&self, t: Time, file: &File, weighing: &Weighing) -> u32 {
        if self.image.as_deref().is_some_and(|image| file.is_session_root(image)) {
            return 0;
        }
        let children = self.children.partition_point(|(time, _)| *time <= t);
        rarity(children as u32, weighing.free, weighing.population).min(ONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Evidence;
    use crate::parameters::Parameters;

    fn mention(id: u64, image: &str) -> Mention {
        Mention { key: Key(id), name: format!("p{id}"), image: Some(image.to_owned()) }
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
    fn a_loop_ends() {
        let mut lineage = Lineage::default();
        lineage.learn(&mention(1, "a.exe"), Some(&mention(2, "b.exe")), Time(1));
        lineage.learn(&mention(2, "b.exe"), Some(&mention(1, "a.exe")), Time(1));
        assert_eq!(steps(&lineage, 1, 1), [(1, 0), (2, 1)]);
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
