//! What the decoder makes of a source kind once it knows which native fields rules want: field numbers, one trie a
//! shape, and an index that finds the variant of an event.

use std::cell::OnceCell;
use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::slots::Values;
use super::trie::{PairTable, Trie};
use super::wanted::{Wanted, WantedId};
use super::when;
use crate::mapping::{Expr, FieldId, FieldTable, Path, Shape, SourceKind, strip_spaces};

/// A source kind, ready to decode.
#[derive(Debug)]
pub(crate) struct KindPlan {
    pub(crate) kind: Arc<SourceKind>,
    pub(crate) fields: FieldTable,
    /// By field number: the wanted native field it is.
    pub(crate) wanted: Vec<Option<WantedId>>,
    /// By variant: native fields that the variant replaces or hides.
    pub(crate) replaced: Vec<Vec<(WantedId, Option<Expr>)>>,
    variants: VariantIndex,
    shapes: Vec<OnceCell<ShapePlan>>,
}

/// One shape, ready to decode.
#[derive(Debug)]
pub(crate) struct ShapePlan {
    pub(crate) name: String,
    /// Paths from the top of the event.
    pub(crate) event: Trie,
    /// Paths from the top of the envelope; empty where there is none.
    pub(crate) envelope: Trie,
    pub(crate) explode: Option<Path>,
    pub(crate) set: Vec<FieldId>,
    pub(crate) constants: Vec<Box<str>>,
    /// The field that numbers the events of an envelope.
    pub(crate) number: Option<FieldId>,
    /// Fields that have another name in the record: where they are looked for first, best first.
    renamed: Vec<(FieldId, Vec<String>)>,
}

impl KindPlan {
    pub(crate) fn new(kind: Arc<SourceKind>, wanted: &Wanted) -> Self {
        let mut fields = kind.fields.clone();
        let mut wanted_ids: Vec<(FieldId, WantedId)> = Vec::new();
        for (id, name) in (0..).zip(&wanted.names) {
            wanted_ids.push((fields.id(name), id));
        }
        let mut by_field = vec![None; fields.len()];
        for (field, id) in wanted_ids {
            by_field[usize::from(field)] = Some(id);
        }
        let replaced = |native: &[(Arc<str>, Option<Expr>)]| {
            native.iter().filter_map(|(name, expr)| Some((wanted.find(name)?, expr.clone()))).collect()
        };
        Self {
            replaced: kind.variants.iter().map(|v| replaced(&v.native)).collect(),
            variants: VariantIndex::new(&kind),
            shapes: kind.shapes.iter().map(|_| OnceCell::new()).collect(),
            kind,
            fields,
            wanted: by_field,
        }
    }

    /// The plan of a shape, made when the first record of that shape comes.
    pub(crate) fn shape(&self, index: usize) -> &ShapePlan {
        self.shapes[index].get_or_init(|| ShapePlan::new(&self.kind.shapes[index], &self.fields))
    }

    /// The first variant that takes the event.
    pub(crate) fn variant(&self, values: &Values<'_>, scratch: &mut String) -> Option<usize> {
        self.variants.find(&self.kind, values, scratch)
    }
}

impl ShapePlan {
    fn new(shape: &Shape, fields: &FieldTable) -> Self {
        let mut plan = Self {
            name: shape.name.clone(),
            event: Trie::new(),
            envelope: Trie::new(),
            explode: shape.explode.clone(),
            set: Vec::new(),
            constants: Vec::new(),
            number: shape.number.as_ref().and_then(|name| fields.find(&strip_spaces(name))),
            renamed: Vec::new(),
        };
        let mut tables: Vec<PairTable> = shape.pairs.iter().map(pair_table).collect();
        for (id, name) in fields.iter() {
            let rank = plan.add_paths(shape, id, name);
            for (table, pairs) in tables.iter_mut().zip(&shape.pairs) {
                if let Some(rest) = name.strip_prefix(strip_spaces(&pairs.prefix).as_ref()) {
                    table.fields.insert(rest.into(), (id, rank));
                }
            }
        }
        for (table, pairs) in tables.into_iter().zip(&shape.pairs) {
            let trie = plan.trie(&pairs.at);
            let node = trie.node(steps(&pairs.at));
            trie.add_pairs(node, table);
        }
        plan.add_json_text(shape);
        for (name, value) in &shape.set {
            if let Some(id) = fields.find(&strip_spaces(name)) {
                plan.set.push(id);
                plan.constants.push(value.clone());
            }
        }
        plan
    }

    /// What the record calls a field: every name that it may have, best first.
    pub(crate) fn names<'n>(&'n self, field: FieldId, fields: &'n FieldTable) -> Vec<&'n str> {
        match self.renamed.iter().find(|(id, _)| *id == field) {
            Some((_, names)) => names.iter().map(String::as_str).collect(),
            None => vec![fields.name(field).trim_start_matches('^')],
        }
    }

    fn trie(&mut self, path: &Path) -> &mut Trie {
        if path.in_envelope && self.explode.is_some() { &mut self.envelope } else { &mut self.event }
    }

    /// Every path that may hold the field, best first; returns the rank after the last one.
    fn add_paths(&mut self, shape: &Shape, id: FieldId, name: &str) -> u16 {
        let renamed = shape
            .rename
            .iter()
            .filter(|(n, _)| strip_spaces(n).as_ref() == name)
            .flat_map(|(_, p)| p.clone());
        let mut paths: Vec<Path> = renamed.collect();
        if !paths.is_empty() {
            self.renamed.push((id, paths.iter().map(|path| path.steps.join(".")).collect()));
        }
        if name.starts_with('^') {
            paths.extend(Path::readings(name));
        }
        for root in &shape.roots {
            let mut top = root.path.clone();
            if root.children {
                top.steps.push("*".into());
            }
            paths.extend(top.join(name));
        }
        let mut rank = 0;
        for path in &paths {
            let trie = self.trie(path);
            let node = trie.node(steps(path));
            trie.add_field(node, id, rank);
            rank += 1;
        }
        rank
    }

    fn add_json_text(&mut self, shape: &Shape) {
        for path in &shape.json_text {
            let below = shape.roots.iter().filter(|r| !r.children).map(|root| {
                let mut below = root.path.clone();
                below.steps.extend(path.steps.iter().cloned());
                below
            });
            for path in std::iter::once(path.clone()).chain(below) {
                let trie = self.trie(&path);
                let node = trie.node(steps(&path));
                trie.set_json_text(node);
            }
        }
    }
}

fn pair_table(pairs: &crate::mapping::Pairs) -> PairTable {
    PairTable { name: pairs.name.clone(), value: pairs.value.clone(), fields: HashMap::default() }
}

fn steps(path: &Path) -> impl Iterator<Item = &str> {
    path.steps.iter().map(AsRef::as_ref)
}

/// Finds the variant of an event by the field that most variants compare with fixed texts.
#[derive(Debug)]
struct VariantIndex {
    key: Option<FieldId>,
    /// By text of the key field, in lower case: variants that may hold, in order.
    by_text: HashMap<Box<str>, SmallVec<[Candidate; 4]>, foldhash::fast::FixedState>,
    /// Variants that do not compare the key field.
    others: Vec<Candidate>,
}

/// A variant that may hold.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    variant: u16,
    /// A condition that the look-up has proved already.
    proved: Option<FieldId>,
}

impl VariantIndex {
    fn new(kind: &SourceKind) -> Self {
        let mut uses: HashMap<FieldId, usize> = HashMap::new();
        for when in kind.variants.iter().map(|v| &v.when) {
            for field in when.fields().filter(|field| when.texts_of(*field).is_some()) {
                *uses.entry(field).or_default() += 1;
            }
        }
        let key =
            uses.into_iter().max_by_key(|(field, n)| (*n, std::cmp::Reverse(*field))).map(|(field, _)| field);
        let texts_of = |i: usize| kind.variants[i].when.texts_of(key?);
        let mut index = Self { key, by_text: HashMap::default(), others: Vec::new() };
        for text in (0..kind.variants.len()).filter_map(texts_of).flatten() {
            index.by_text.entry(text.into()).or_default();
        }
        for i in 0..kind.variants.len() {
            let variant = i as u16;
            match texts_of(i) {
                Some(texts) => {
                    // Of several alternatives each has its own texts.
                    let proved = key.filter(|_| kind.variants[i].when.alternatives.len() == 1);
                    for text in texts {
                        let list = index.by_text.entry(text.into()).or_default();
                        if list.last().is_none_or(|last| last.variant != variant) {
                            list.push(Candidate { variant, proved });
                        }
                    }
                }
                None => {
                    let candidate = Candidate { variant, proved: None };
                    index.others.push(candidate);
                    index.by_text.values_mut().for_each(|list| list.push(candidate));
                }
            }
        }
        index
    }

    fn find(&self, kind: &SourceKind, values: &Values<'_>, scratch: &mut String) -> Option<usize> {
        let holds = |candidate: &&Candidate| {
            when::holds(&kind.variants[usize::from(candidate.variant)].when, candidate.proved, values)
        };
        // A field with several values may equal several texts: then the order of the variants decides.
        let key = match self.key {
            Some(key) if values.is_listed(key) || values.get(key).is_some_and(when::is_list) => {
                return kind.variants.iter().position(|variant| when::holds(&variant.when, None, values));
            }
            Some(key) => values.get(key),
            None => None,
        };
        scratch.clear();
        let text = key.and_then(|json| json.unwrapped().scalar(scratch));
        let candidates = text.and_then(|text| when::lower(text, |lower| self.by_text.get(lower)));
        candidates
            .map_or(self.others.as_slice(), SmallVec::as_slice)
            .iter()
            .find(holds)
            .map(|candidate| usize::from(candidate.variant))
    }
}
