//! An incident as a graph for people and tools: alerts, the entities they name, and how these relate.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use event::{
    Alert, AlertId, Entity, EntityType, GraphEdge, GraphNode, Incident, IncidentGraph, RecordRef, Role,
};
use petgraph::graph::{NodeIndex, UnGraph};

use crate::evidence::Key;
use crate::facts::Stale;
use crate::join::{End, Via};
use crate::meaning::known_name;
use crate::parameters::File;
use crate::resolve::Resolved;
use crate::shard::Shard;

/// Builds the graph, at most `graph_nodes` of the parameters large: the gravest and earliest alerts first, then
/// the entities that most alerts name.
pub(crate) fn graph(shard: &Shard, incident: &Incident, file: &File) -> IncidentGraph {
    let alerts: Vec<&Alert> = incident
        .alerts
        .iter()
        .filter_map(|id| shard.node(id))
        .map(|n| &*shard.board.nodes[n as usize].alert)
        .collect();
    let mut work = Work { graph: UnGraph::new_undirected(), by_id: BTreeMap::new() };
    for alert in &alerts {
        work.alert(alert);
    }
    for alert in &alerts {
        work.entities(alert, shard, incident, file);
    }
    work.all_events(&alerts, shard, file);
    for join in &incident.joins {
        work.relate(
            &format!("alert:{}", join.a),
            &format!("alert:{}", join.b),
            "joined",
            Some(join.weight_ppm),
        );
    }
    work.bounded(incident, file.limits.graph_nodes)
}

struct Relation {
    from: String,
    to: String,
    relation: String,
    weight_ppm: Option<u32>,
}

struct Work {
    graph: UnGraph<GraphNode, Relation>,
    by_id: BTreeMap<String, NodeIndex>,
}

impl Work {
    fn alert(&mut self, alert: &Alert) {
        let id = format!("alert:{}", alert.id);
        let node = GraphNode {
            id: id.clone(),
            kind: "alert".to_owned(),
            label: alert.title.to_string(),
            time: Some(alert.time),
            severity: Some(alert.severity),
            alerts: None,
        };
        let index = self.graph.add_node(node);
        self.by_id.insert(id, index);
    }

    fn entities(&mut self, alert: &Alert, shard: &Shard, incident: &Incident, file: &File) {
        let alert_id = format!("alert:{}", alert.id);
        let mut seen = BTreeSet::new();
        let mut by_role: BTreeMap<Role, Vec<String>> = BTreeMap::new();
        for entity in &alert.entities {
            let name = known_name(entity, &alert.tenant, incident.last_time, &shard.facts, file);
            let id = self.entity(entity, &name, seen.insert((entity.entity_type, Arc::clone(&name))));
            self.relate(&alert_id, &id, entity.role.as_str(), None);
            if entity.entity_type == EntityType::Process {
                by_role.entry(entity.role).or_default().push(id);
            }
        }
        for (parent, child) in [(Role::Parent, Role::Target), (Role::ActorParent, Role::Actor)] {
            if let (Some([parent]), Some([child])) =
                (by_role.get(&parent).map(Vec::as_slice), by_role.get(&child).map(Vec::as_slice))
            {
                let (parent, child) = (parent.clone(), child.clone());
                self.relate(&parent, &child, "parent_of", None);
            }
        }
    }

    /// The plain events between the alerts: which led to which, and which alerts are about them.
    fn all_events(&mut self, alerts: &[&Alert], shard: &Shard, file: &File) {
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
            self.relate(&ids[*first], &ids[*second], &relation, None);
        }
        for (alert, event) in [(from, via.ends.0), (to, via.ends.1)] {
            self.relate(&format!("alert:{alert}"), &ids[event], "event", None);
        }
    }

    /// A plain event, or the alert that was made of it.
    fn event(&mut self, event: &End, by_record: &HashMap<&RecordRef, &AlertId>) -> String {
        if let Some(alert) = by_record.get(&event.record) {
            return format!("alert:{alert}");
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
            })
        });
        id
    }

    fn entity(&mut self, entity: &Entity, name: &str, counts: bool) -> String {
        let id = format!("{}:{name}", entity.entity_type);
        let index = *self.by_id.entry(id.clone()).or_insert_with(|| {
            self.graph.add_node(GraphNode {
                id: id.clone(),
                kind: entity.entity_type.as_str().to_owned(),
                label: name.to_owned(),
                time: None,
                severity: None,
                alerts: Some(0),
            })
        });
        if let Some(alerts) = self.graph[index].alerts.as_mut().filter(|_| counts) {
            *alerts += 1;
        }
        id
    }

    fn relate(&mut self, from: &str, to: &str, relation: &str, weight_ppm: Option<u32>) {
        let (Some(a), Some(b)) = (self.by_id.get(from), self.by_id.get(to)) else { return };
        let is_known = self.graph.edges_connecting(*a, *b).any(|edge| edge.weight().relation == relation);
        if !is_known && a != b {
            self.graph.add_edge(
                *a,
                *b,
                Relation {
                    from: from.to_owned(),
                    to: to.to_owned(),
                    relation: relation.to_owned(),
                    weight_ppm,
                },
            );
        }
    }

    fn bounded(mut self, incident: &Incident, nodes_max: usize) -> IncidentGraph {
        let mut ranked: Vec<NodeIndex> = self.graph.node_indices().collect();
        ranked.sort_by_key(|index| {
            let node = &self.graph[*index];
            let rank = (
                node.severity.is_none(),
                std::cmp::Reverse(node.severity),
                node.time,
                std::cmp::Reverse(node.alerts),
            );
            (rank, node.id.clone())
        });
        // A third of the room stays for entities: alerts alone show no story.
        let alerts = ranked.iter().filter(|index| self.graph[**index].severity.is_some()).count();
        let entities_kept =
            (ranked.len() - alerts).min(nodes_max.saturating_sub(alerts.min(nodes_max - nodes_max / 3)));
        let alerts_kept = alerts.min(nodes_max - entities_kept);
        let kept: BTreeSet<NodeIndex> =
            ranked[..alerts_kept].iter().chain(&ranked[alerts..alerts + entities_kept]).copied().collect();
        let nodes_omitted = ranked.len() - kept.len();
        self.graph.retain_edges(|graph, edge| {
            graph.edge_endpoints(edge).is_some_and(|(a, b)| kept.contains(&a) && kept.contains(&b))
        });
        let mut edges: Vec<GraphEdge> =
            self.graph.edge_references().map(|edge| graph_edge(edge.weight())).collect();
        edges.sort_by(|a, b| (&a.from, &a.to, &a.relation).cmp(&(&b.from, &b.to, &b.relation)));
        let nodes = ranked
            .iter()
            .filter(|index| kept.contains(index))
            .map(|index| self.graph[*index].clone())
            .collect();
        IncidentGraph { incident: incident.id.clone(), nodes, edges, nodes_omitted }
    }
}

fn graph_edge(relation: &Relation) -> GraphEdge {
    GraphEdge {
        from: relation.from.clone(),
        to: relation.to.clone(),
        relation: relation.relation.clone(),
        weight_ppm: relation.weight_ppm,
    }
}
