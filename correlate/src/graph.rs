//! An incident as a graph for people and tools: alerts, the entities they name, and how these relate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use event::{Alert, Entity, EntityType, GraphEdge, GraphNode, Incident, IncidentGraph, Role};
use petgraph::graph::{NodeIndex, UnGraph};

use crate::meaning::known_name;
use crate::parameters::File;
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
    relation: &'static str,
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

    fn relate(&mut self, from: &str, to: &str, relation: &'static str, weight_ppm: Option<u32>) {
        let (Some(a), Some(b)) = (self.by_id.get(from), self.by_id.get(to)) else { return };
        let is_known = self.graph.edges_connecting(*a, *b).any(|edge| edge.weight().relation == relation);
        if !is_known && a != b {
            self.graph.add_edge(
                *a,
                *b,
                Relation { from: from.to_owned(), to: to.to_owned(), relation, weight_ppm },
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
        relation: relation.relation.to_owned(),
        weight_ppm: relation.weight_ppm,
    }
}
