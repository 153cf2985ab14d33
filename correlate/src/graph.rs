//! An incident as a graph for people and tools: alerts, the entities they name, and how these relate; shortest paths,
//! what holds it together, how far each entity reaches, and where to draw it.

mod cut;
mod layout;
mod relation;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use event::{
    Alert, AlertId, Entity, EntityType, GraphCut, GraphEdge, GraphNode, GraphOmitted, GraphPath, Incident,
    IncidentGraph, RecordRef,
};
use petgraph::algo::astar;
use petgraph::graph::{NodeIndex, UnGraph};

use crate::error::CorrelateError;
use crate::evidence::Key;
use crate::facts::Stale;
use crate::join::{End, Via};
use crate::keyed::{Keyed, Name};
use crate::names::Names;
use crate::parameters::File;
use crate::resolve::Resolved;
use crate::shard::Shard;
use crate::words::counted;

/// Cuts listed: more of them hold a graph together than a person can weigh.
const CUTS_MAX: usize = 20;

/// Kinds of left-out nodes listed one by one.
const OMITTED_MAX: usize = 20;

/// Builds the graph, at most `graph_nodes` of the parameters large: the ends and steps of the path, the cuts, the gravest
/// and earliest alerts, then the entities that most alerts name.
pub(crate) fn graph(
    shard: &Shard,
    incident: &Incident,
    between: Option<(&str, &str)>,
    file: &File,
) -> Result<IncidentGraph, CorrelateError> {
    let placed = incident.alerts.iter().filter_map(|id| shard.node(id));
    let alerts: Vec<&Keyed> = placed.map(|n| &*shard.board.nodes[n as usize].alert).collect();
    let names = Names::of(&alerts, &shard.facts, file);
    let mut work = Work::default();
    for alert in &alerts {
        work.alert(alert);
    }
    for alert in &alerts {
        work.entities(alert, &names);
        work.relations(alert, &names);
    }
    work.lineage(&alerts, &names, shard, file);
    work.mailboxes();
    work.events_between(&alerts, shard, file);
    for join in &incident.joins {
        let (a, b) = (alert_id(&join.a), alert_id(&join.b));
        work.relate(&a, &b, Relation { weight_ppm: Some(join.weight_ppm), ..Relation::of("joined") });
    }
    let path = between.map(|(a, b)| Ok((work.find(a)?, work.find(b)?))).transpose()?;
    let path = path.map(|(a, b)| work.path(a, b));
    let cuts = work.cuts();
    Ok(work.bounded(incident, path, cuts, file.limits.graph_nodes))
}

fn alert_id(alert: &AlertId) -> String {
    format!("alert:{alert}")
}

fn entity_id(entity_type: EntityType, name: &str) -> String {
    format!("{entity_type}:{name}")
}

/// An edge's meaning; `from` tells its direction.
#[derive(Debug, Clone)]
struct Relation {
    from: NodeIndex,
    relation: Cow<'static, str>,
    weight_ppm: Option<u32>,
    alert: Option<AlertId>,
    /// An alert names an entity.
    is_named: bool,
}

impl Relation {
    fn of(relation: impl Into<Cow<'static, str>>) -> Self {
        let relation = relation.into();
        Self { from: NodeIndex::end(), relation, weight_ppm: None, alert: None, is_named: false }
    }
}

#[derive(Default)]
struct Work {
    graph: UnGraph<GraphNode, Relation>,
    by_id: HashMap<String, NodeIndex>,
    related: HashSet<(NodeIndex, NodeIndex, Cow<'static, str>)>,
}

impl Work {
    fn alert(&mut self, alert: &Alert) {
        let id = alert_id(&alert.id);
        let node = GraphNode {
            id: id.clone(),
            kind: "alert".to_owned(),
            label: alert.title.to_string(),
            time: Some(alert.time),
            severity: Some(alert.severity),
            alerts: None,
            reaches: None,
            column: 0,
            lane: 0,
        };
        let index = self.graph.add_node(node);
        self.by_id.insert(id, index);
    }

    fn entities(&mut self, alert: &Alert, names: &Names<'_>) {
        let alert_id = alert_id(&alert.id);
        let mut seen = BTreeSet::new();
        for entity in &alert.entities {
            let name = names.known(entity);
            let id = entity_id(entity.entity_type, &name);
            let index = self.entity(&id, entity.entity_type, &name, names);
            if let Some(alerts) = self.graph[index].alerts.as_mut().filter(|_| seen.insert(index)) {
                *alerts += 1;
            }
            let named = Relation { is_named: true, ..Relation::of(entity.role.as_str()) };
            self.relate(&alert_id, &id, named);
        }
    }

    /// The plain events between the alerts: which led to which, and which alerts are about them.
    fn events_between(&mut self, alerts: &[&Keyed], shard: &Shard, file: &File) {
        let alerts = &alerts[..alerts.len().min(file.limits.graph_nodes)];
        let mut at: HashMap<Key, Vec<&AlertId>> = HashMap::new();
        let mut by_record: HashMap<&RecordRef, &AlertId> = HashMap::new();
        for alert in alerts {
            by_record.extend(alert.records.iter().map(|record| (record, &alert.id)));
            let node = shard.node(&alert.id).map(|n| &shard.board.nodes[n as usize]);
            for post in node.into_iter().flat_map(|node| &node.posts) {
                at.entry(post.key).or_default().push(&alert.id);
            }
        }
        for alert in alerts {
            let resolved = Resolved::of(alert, &shard.facts, file, &mut Stale::default());
            for ask in &resolved.asks {
                let Some(lead) = &ask.lead else { continue };
                let others = at.get(&ask.post.key).into_iter().flatten();
                for other in others.filter(|other| ***other != alert.id) {
                    self.events(&alert.id, other, &lead.via, &by_record, file);
                }
            }
        }
    }

    fn events(
        &mut self,
        from: &AlertId,
        to: &AlertId,
        via: &Via,
        by_record: &HashMap<&RecordRef, &AlertId>,
        file: &File,
    ) {
        let ids: Vec<String> = via.events.iter().map(|event| self.event(event, by_record)).collect();
        for (first, second, join) in &via.pairs {
            let relation = file.definitions.joins[*join as usize].relation.to_string();
            self.relate(&ids[*first], &ids[*second], Relation::of(relation));
        }
        for (alert, event) in [(from, via.ends.0), (to, via.ends.1)] {
            self.relate(&alert_id(alert), &ids[event], Relation::of("is_about"));
        }
    }

    /// A plain event, or the alert that was made of it.
    fn event(&mut self, event: &End, by_record: &HashMap<&RecordRef, &AlertId>) -> String {
        if let Some(alert) = by_record.get(&event.record) {
            return alert_id(alert);
        }
        let id = format!("event:{}", event.record);
        self.by_id.entry(id.clone()).or_insert_with(|| {
            self.graph.add_node(GraphNode {
                id: id.clone(),
                kind: "event".to_owned(),
                label: event.text.to_string(),
                time: Some(event.time),
                severity: None,
                alerts: None,
                reaches: None,
                column: 0,
                lane: 0,
            })
        });
        id
    }

    fn entity(&mut self, id: &str, entity_type: EntityType, name: &Arc<str>, names: &Names<'_>) -> NodeIndex {
        if let Some(index) = self.by_id.get(id) {
            return *index;
        }
        let index = self.graph.add_node(GraphNode {
            id: id.to_owned(),
            kind: entity_type.as_str().to_owned(),
            label: names.said_of(entity_type, name).to_string(),
            time: None,
            severity: None,
            alerts: Some(0),
            reaches: None,
            column: 0,
            lane: 0,
        });
        self.by_id.insert(id.to_owned(), index);
        index
    }

    fn relations(&mut self, alert: &Alert, names: &Names<'_>) {
        let id = |entity: &Entity| entity_id(entity.entity_type, &names.known(entity));
        for (from, to, relation) in relation::relations(alert) {
            let shown = Relation { alert: Some(alert.id.clone()), ..Relation::of(relation) };
            self.relate(&id(from), &id(to), shown);
        }
    }

    /// Processes under their nearest ancestor of the incident.
    fn lineage(&mut self, alerts: &[&Keyed], names: &Names<'_>, shard: &Shard, file: &File) {
        let mut processes: BTreeMap<Key, String> = BTreeMap::new();
        for alert in alerts {
            for (entity, Name { key, .. }) in alert.named() {
                if entity.entity_type != EntityType::Process {
                    continue;
                }
                processes.insert(key, entity_id(EntityType::Process, &names.known(entity)));
            }
        }
        let at = alerts.iter().map(|a| a.time).max().unwrap_or_default();
        for (key, id) in &processes {
            let mut above = *key;
            for step in 0..file.tree.steps {
                let Some(parent) = shard.facts.lineage.parent(above, at).filter(|p| p != key) else { break };
                above = parent;
                if let Some(ancestor) = processes.get(&parent) {
                    let relation = if step == 0 { "parent_of" } else { "ancestor_of" };
                    self.relate(ancestor, id, Relation::of(relation));
                    break;
                }
            }
        }
    }

    /// A mailbox is that of the user of its address.
    fn mailboxes(&mut self) {
        let prefix = entity_id(EntityType::Mailbox, "");
        let ids = self.by_id.keys().filter_map(|id| id.strip_prefix(&prefix));
        let mut addresses: Vec<String> = ids.map(str::to_owned).collect();
        addresses.sort_unstable();
        for address in addresses {
            let (user, mailbox) =
                (entity_id(EntityType::User, &address), entity_id(EntityType::Mailbox, &address));
            self.relate(&user, &mailbox, Relation::of("owns"));
        }
    }

    fn relate(&mut self, from: &str, to: &str, relation: Relation) {
        let (Some(a), Some(b)) = (self.by_id.get(from), self.by_id.get(to)) else { return };
        let (a, b) = (*a, *b);
        if a != b && self.related.insert((a, b, relation.relation.clone())) {
            self.graph.add_edge(a, b, Relation { from: a, ..relation });
        }
    }

    fn is_alert(&self, index: NodeIndex) -> bool {
        self.graph[index].severity.is_some()
    }

    /// The node of an id; else the one alert of that id, or the one entity of that name or value.
    fn find(&self, text: &str) -> Result<NodeIndex, CorrelateError> {
        if let Some(index) = self.by_id.get(text).or_else(|| self.by_id.get(&format!("alert:{text}"))) {
            return Ok(*index);
        }
        let is_named = |index: &NodeIndex| {
            let node = &self.graph[*index];
            let value = node.id.split_once(':').map_or("", |(_, value)| value);
            [&*node.label, value].iter().any(|name| name.eq_ignore_ascii_case(text))
        };
        let found: Vec<NodeIndex> = self.graph.node_indices().filter(is_named).collect();
        match found.as_slice() {
            [one] => Ok(*one),
            [] => Err(CorrelateError::UnknownNode(text.to_owned())),
            several => {
                let ids: Vec<&str> = several.iter().take(5).map(|i| &*self.graph[*i].id).collect();
                Err(CorrelateError::AmbiguousNode { name: text.to_owned(), ids: ids.join(", ") })
            }
        }
    }

    fn edge(&self, relation: &Relation, to: NodeIndex) -> GraphEdge {
        GraphEdge {
            from: self.graph[relation.from].id.clone(),
            to: self.graph[to].id.clone(),
            relation: relation.relation.to_string(),
            weight_ppm: relation.weight_ppm,
            alert: relation.alert.clone(),
        }
    }

    /// The shortest way from one node to another. What an entity did to another is a step, an alert that names one is
    /// one and a half, and two alerts that are joined are three: what happened says more than what scored.
    fn path(&self, a: NodeIndex, b: NodeIndex) -> (Vec<NodeIndex>, GraphPath) {
        let cost = |relation: &Relation| match (relation.weight_ppm, relation.is_named) {
            (Some(_), _) => 6_u64,
            (None, true) => 3,
            (None, false) => 2,
        };
        let found = astar(&self.graph, a, |node| node == b, |edge| cost(edge.weight()), |_| 0);
        let nodes = found.map_or_else(Vec::new, |(_, nodes)| nodes);
        let best = |pair: &[NodeIndex]| {
            let between = self.graph.edges_connecting(pair[0], pair[1]).map(|edge| edge.weight());
            let best = between.min_by_key(|relation| (cost(relation), &*relation.relation))?;
            Some((best.clone(), if best.from == pair[0] { pair[1] } else { pair[0] }))
        };
        let steps: Vec<(Relation, NodeIndex)> = nodes.windows(2).filter_map(best).collect();
        let path = GraphPath {
            nodes: nodes.iter().map(|index| self.graph[*index].id.clone()).collect(),
            edges: steps.iter().map(|(relation, to)| self.edge(relation, *to)).collect(),
            text: self.path_text(a, b, (!nodes.is_empty()).then_some(&steps)),
        };
        (nodes, path)
    }

    fn path_text(&self, a: NodeIndex, b: NodeIndex, steps: Option<&Vec<(Relation, NodeIndex)>>) -> String {
        let name = |index: NodeIndex| match self.is_alert(index) {
            true => format!("\"{}\"", self.graph[index].label),
            // A user's mailbox has the user's name.
            false if self.graph[index].kind == EntityType::Mailbox.as_str() => {
                format!("mailbox {}", self.graph[index].label)
            }
            false => self.graph[index].label.clone(),
        };
        let Some(steps) = steps else {
            return format!("Nothing in this incident connects {} and {}.", name(a), name(b));
        };
        let told: Vec<String> = steps
            .iter()
            .map(|(relation, to)| {
                let words = match relation.is_named {
                    true => "names".to_owned(),
                    false => relation::words(&relation.relation),
                };
                format!("{} {words} {}", name(relation.from), name(*to))
            })
            .collect();
        match told.is_empty() {
            true => "One and the same.".to_owned(),
            false => format!("{}: {}.", counted(told.len(), "step", "steps"), told.join("; ")),
        }
    }

    fn cuts(&self) -> Vec<(NodeIndex, GraphCut)> {
        let mut cuts = cut::cuts(&self.graph, |index| self.is_alert(index));
        // What takes most alerts away from the largest part comes first.
        let away = |cut: &cut::Cut| cut.parts[1..].iter().sum::<u32>();
        cuts.sort_by_key(|cut| {
            (Reverse(away(cut)), self.is_alert(cut.node), self.graph[cut.node].id.clone())
        });
        cuts.truncate(CUTS_MAX);
        cuts.into_iter()
            .map(|cut| (cut.node, GraphCut { node: self.graph[cut.node].id.clone(), parts: cut.parts }))
            .collect()
    }

    /// Nodes in the order in which they are kept, alerts first.
    fn ranked(&self) -> Vec<NodeIndex> {
        let mut ranked: Vec<NodeIndex> = self.graph.node_indices().collect();
        ranked.sort_by_key(|index| {
            let node = &self.graph[*index];
            let rank = (node.severity.is_none(), Reverse(node.severity), node.time, Reverse(node.alerts));
            (rank, node.id.clone())
        });
        ranked
    }

    fn bounded(
        mut self,
        incident: &Incident,
        path: Option<(Vec<NodeIndex>, GraphPath)>,
        cuts: Vec<(NodeIndex, GraphCut)>,
        nodes_max: usize,
    ) -> IncidentGraph {
        let ranked = self.ranked();
        let kept = self.kept(
            &ranked,
            path.as_ref().map_or(&[][..], |(nodes, _)| nodes.as_slice()),
            &cuts,
            nodes_max,
        );
        let omitted: Vec<NodeIndex> = ranked.iter().filter(|index| !kept.contains(index)).copied().collect();
        let nodes: Vec<NodeIndex> = ranked.into_iter().filter(|index| kept.contains(index)).collect();
        self.reach(&nodes);
        layout::lay_out(&mut self.graph, &nodes);
        let mut edges: Vec<GraphEdge> = self
            .graph
            .edge_indices()
            .filter_map(|edge| {
                let (a, b) = self.graph.edge_endpoints(edge)?;
                let relation = &self.graph[edge];
                let to = if relation.from == a { b } else { a };
                (kept.contains(&a) && kept.contains(&b)).then(|| self.edge(relation, to))
            })
            .collect();
        edges.sort();
        IncidentGraph {
            incident: incident.id.clone(),
            title: incident.title.clone(),
            nodes: nodes.iter().map(|index| self.graph[*index].clone()).collect(),
            edges,
            cuts: cuts.into_iter().filter(|(node, _)| kept.contains(node)).map(|(_, cut)| cut).collect(),
            path: path.map(|(_, path)| path),
            nodes_omitted: omitted.len(),
            omitted: self.summarised(&omitted),
        }
    }

    fn kept(
        &self,
        ranked: &[NodeIndex],
        path: &[NodeIndex],
        cuts: &[(NodeIndex, GraphCut)],
        nodes_max: usize,
    ) -> HashSet<NodeIndex> {
        let alerts = ranked.iter().filter(|index| self.is_alert(**index)).count();
        // A third of the room stays for entities: alerts alone show no story.
        let entities_room =
            (ranked.len() - alerts).min(nodes_max.saturating_sub(alerts.min(nodes_max - nodes_max / 3)));
        let alerts_room = alerts.min(nodes_max - entities_room);
        let first = path.iter().copied().chain(cuts.iter().map(|(node, _)| *node));
        let mut kept: HashSet<NodeIndex> = HashSet::new();
        let mut room = [alerts_room, entities_room];
        for index in first.chain(ranked.iter().copied()) {
            let room = &mut room[usize::from(!self.is_alert(index))];
            if *room > 0 && kept.insert(index) {
                *room -= 1;
            }
        }
        kept
    }

    /// How many assets each entity reaches along what entities did to entities.
    fn reach(&mut self, nodes: &[NodeIndex]) {
        let mut onward: HashMap<NodeIndex, Vec<NodeIndex>> = HashMap::new();
        for edge in self.graph.edge_indices() {
            let Some((a, b)) = self.graph.edge_endpoints(edge) else { continue };
            if !self.is_alert(a) && !self.is_alert(b) {
                let from = self.graph[edge].from;
                onward.entry(from).or_default().push(if from == a { b } else { a });
            }
        }
        for start in nodes.iter().copied().filter(|index| !self.is_alert(*index)).collect::<Vec<_>>() {
            let mut seen = HashSet::from([start]);
            let mut next = vec![start];
            while let Some(at) = next.pop() {
                let beyond = onward.get(&at).into_iter().flatten().copied();
                next.extend(beyond.filter(|node| seen.insert(*node)));
            }
            seen.remove(&start);
            let assets = seen.iter().filter(|index| is_asset(&self.graph[**index].kind)).count();
            self.graph[start].reaches = Some(assets as u32);
        }
    }

    /// What was left out: alerts by title, entities by kind.
    fn summarised(&self, omitted: &[NodeIndex]) -> Vec<GraphOmitted> {
        let mut counts: BTreeMap<(String, String), u32> = BTreeMap::new();
        for index in omitted {
            let node = &self.graph[*index];
            let label = match self.is_alert(*index) {
                true => node.label.clone(),
                false => format!("entities: {}", node.kind.replace('_', " ")),
            };
            *counts.entry((node.kind.clone(), label)).or_default() += 1;
        }
        let groups = counts.into_iter().map(|((kind, label), nodes)| GraphOmitted { kind, label, nodes });
        let mut groups: Vec<GraphOmitted> = groups.collect();
        groups.sort_by_key(|group| Reverse(group.nodes));
        if groups.len() > OMITTED_MAX {
            let rest = groups.split_off(OMITTED_MAX - 1);
            let label = format!("{} more titles and kinds", rest.len());
            let nodes = rest.iter().map(|group| group.nodes).sum();
            groups.push(GraphOmitted { kind: "other".to_owned(), label, nodes });
        }
        groups
    }
}

fn is_asset(kind: &str) -> bool {
    use EntityType::{App, CloudResource, Device, Mailbox, User};
    [Device, User, Mailbox, App, CloudResource].iter().any(|asset| asset.as_str() == kind)
}
