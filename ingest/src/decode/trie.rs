//! The wanted paths of a shape as a trie, walked once in the order of the document. What no path names is skipped
//! whole, since the tape knows where a value ends.

use std::cell::RefCell;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::json::{Json, Kind, parse_text};
use super::names::NameId;
use super::slots::Slots;
use super::tape::{Node, Tape};
use crate::mapping::{FieldId, Path, strip_spaces};

type NodeId = usize;
type Children = HashMap<Box<str>, NodeId, foldhash::fast::FixedState>;

/// Paths to fields.
#[derive(Debug)]
pub(crate) struct Trie {
    nodes: Vec<TrieNode>,
    pairs: Vec<PairTable>,
}

#[derive(Debug, Clone, Copy)]
enum Child {
    Unknown,
    Nothing,
    Node(u32),
}

#[derive(Debug, Default)]
struct TrieNode {
    children: Children,
    /// By number of a name: the child that it leads to, once it was looked up.
    by_name: RefCell<Vec<Child>>,
    /// Every child that is an object.
    any_object: Option<NodeId>,
    /// Fields whose value stands here, with the rank of this path among the field's paths.
    fields: SmallVec<[(FieldId, u16); 2]>,
    /// Children that are steps on a list: an index, or `name=value`.
    on_list: Vec<(Box<str>, NodeId)>,
    json_text: bool,
    pairs: SmallVec<[usize; 1]>,
}

/// How a list of name/value objects gives fields.
#[derive(Debug)]
pub(crate) struct PairTable {
    pub(crate) name: Path,
    pub(crate) value: Vec<Path>,
    pub(crate) fields: HashMap<Box<str>, (FieldId, u16), foldhash::fast::FixedState>,
}

impl Trie {
    pub(crate) fn new() -> Self {
        Self { nodes: vec![TrieNode::default()], pairs: Vec::new() }
    }

    /// Whether no path was added.
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.len() == 1 && self.nodes[0].fields.is_empty() && self.nodes[0].pairs.is_empty()
    }

    /// The node at the end of the steps, made if it is new. `*` is every child object.
    pub(crate) fn node<'s>(&mut self, steps: impl IntoIterator<Item = &'s str>) -> NodeId {
        let mut at = 0;
        for step in steps {
            at = if step == "*" { self.any_object(at) } else { self.child(at, step) };
        }
        at
    }

    fn child(&mut self, at: NodeId, step: &str) -> NodeId {
        if let Some(child) = self.nodes[at].children.get(step) {
            return *child;
        }
        let child = self.nodes.len();
        self.nodes.push(TrieNode::default());
        self.nodes[at].children.insert(step.into(), child);
        if step.parse::<usize>().is_ok() || step.contains('=') {
            self.nodes[at].on_list.push((step.into(), child));
        }
        child
    }

    fn any_object(&mut self, at: NodeId) -> NodeId {
        if let Some(child) = self.nodes[at].any_object {
            return child;
        }
        let child = self.nodes.len();
        self.nodes.push(TrieNode::default());
        self.nodes[at].any_object = Some(child);
        child
    }

    pub(crate) fn add_field(&mut self, node: NodeId, field: FieldId, rank: u16) {
        self.nodes[node].fields.push((field, rank));
    }

    pub(crate) fn set_json_text(&mut self, node: NodeId) {
        self.nodes[node].json_text = true;
    }

    pub(crate) fn add_pairs(&mut self, node: NodeId, table: PairTable) {
        self.nodes[node].pairs.push(self.pairs.len());
        self.pairs.push(table);
    }

    /// Takes every wanted value of the event at `at` into `slots`.
    pub(crate) fn walk(&self, tape: &Tape<'_>, at: usize, slots: &mut Slots) {
        self.visit(0, Json::Tape(tape, at), false, slots);
    }

    fn visit(&self, node: NodeId, value: Json<'_>, in_list: bool, slots: &mut Slots) {
        let trie = &self.nodes[node];
        if !trie.fields.is_empty() {
            let place = slots.keep(value);
            let null = value.is_null();
            for (field, rank) in &trie.fields {
                slots.hit(*field, *rank, null, place, in_list);
            }
        }
        if trie.json_text
            && let Some(text) = value.text()
        {
            if let Some(parsed) = parse_text(&text) {
                self.descend(trie, Json::Value(&parsed), in_list, slots);
            }
            return;
        }
        self.descend(trie, value, in_list, slots);
    }

    #[inline]
    fn descend(&self, trie: &TrieNode, value: Json<'_>, in_list: bool, slots: &mut Slots) {
        for table in &trie.pairs {
            self.pairs[*table].take(value, slots);
        }
        if trie.children.is_empty() && trie.any_object.is_none() {
            return;
        }
        match value.kind() {
            Kind::Object => self.descend_object(trie, value, in_list, slots),
            Kind::List => self.descend_list(trie, value, slots),
            _ => {}
        }
    }

    fn descend_object(&self, trie: &TrieNode, value: Json<'_>, in_list: bool, slots: &mut Slots) {
        if let Json::Tape(tape, at) = value {
            return self.descend_tape(trie, tape, at, in_list, slots);
        }
        for (key, member) in value.entries() {
            self.enter(trie, trie.child(key), member, in_list, slots);
        }
    }

    fn descend_tape(&self, trie: &TrieNode, tape: &Tape<'_>, at: usize, in_list: bool, slots: &mut Slots) {
        let (mut name, end) = (at + 1, tape.after(at));
        while name < end {
            let child = match tape.node(name) {
                Some(Node::Name(_, id)) => trie.child_by_name(id, || tape.text(name)),
                _ => tape.text(name).and_then(|key| trie.child(key)),
            };
            if child.is_some() || trie.any_object.is_some() {
                self.enter(trie, child, Json::Tape(tape, name + 1), in_list, slots);
            }
            name = tape.after(name + 1);
        }
    }

    #[inline]
    fn enter(
        &self,
        trie: &TrieNode,
        child: Option<NodeId>,
        member: Json<'_>,
        in_list: bool,
        slots: &mut Slots,
    ) {
        if let Some(child) = child {
            self.visit(child, member, in_list, slots);
        }
        if let Some(child) = trie.any_object
            && matches!(member.kind(), Kind::Object)
        {
            self.visit(child, member, in_list, slots);
        }
    }

    /// A name below a list means that name in any member; an index or `name=value` means one member.
    fn descend_list(&self, trie: &TrieNode, value: Json<'_>, slots: &mut Slots) {
        for (step, child) in &trie.on_list {
            if let Some(member) = value.step(step) {
                self.visit(*child, member, false, slots);
            }
        }
        for member in value.members() {
            self.descend(trie, member, true, slots);
        }
    }
}

impl TrieNode {
    /// The child of a name that has a number.
    #[inline]
    fn child_by_name<'t>(&self, id: NameId, name: impl FnOnce() -> Option<&'t str>) -> Option<NodeId> {
        match self.by_name.borrow().get(usize::from(id)) {
            Some(Child::Node(child)) => return Some(*child as NodeId),
            Some(Child::Nothing) => return None,
            Some(Child::Unknown) | None => {}
        }
        let child = name().and_then(|name| self.child(name));
        let mut by_name = self.by_name.borrow_mut();
        let len = by_name.len().max(usize::from(id) + 1);
        by_name.resize(len, Child::Unknown);
        by_name[usize::from(id)] = child.map_or(Child::Nothing, |child| Child::Node(child as u32));
        child
    }

    #[inline]
    fn child(&self, key: &str) -> Option<NodeId> {
        match self.children.get(key) {
            Some(child) => Some(*child),
            None if memchr::memchr(b' ', key.as_bytes()).is_some() => {
                self.children.get(&strip_spaces(key)).copied()
            }
            None => None,
        }
    }
}

impl PairTable {
    fn take(&self, list: Json<'_>, slots: &mut Slots) {
        if matches!(list.kind(), Kind::Object) {
            return self.take_one(list, slots);
        }
        for member in list.members() {
            self.take_one(member, slots);
        }
    }

    fn take_one(&self, pair: Json<'_>, slots: &mut Slots) {
        let Some(name) = pair.at(&self.name.steps).and_then(Json::text) else { return };
        let found = self.fields.get(name.as_ref()).or_else(|| self.fields.get(strip_spaces(&name).as_ref()));
        let Some((field, rank)) = found else { return };
        let values = self.value.iter().filter_map(|path| pair.at(&path.steps));
        let value = values.reduce(|first, other| if first.is_null() { other } else { first });
        if let Some(value) = value {
            let place = slots.keep(value);
            slots.hit(*field, *rank, value.is_null(), place, false);
        }
    }
}
