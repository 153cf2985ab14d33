//! Where to draw a graph: lanes by kind, columns by event time. A drawing needs no more to be readable, and two
//! drawings of one incident look alike.

use std::collections::BTreeMap;

use event::{EntityType, GraphNode};
use petgraph::graph::{NodeIndex, UnGraph};

/// Alerts stand in lane 0 in order of time; entities in the lane of their kind, in the middle of the alerts that name
/// them, each in a column of its own.
pub(super) fn lay_out<E>(graph: &mut UnGraph<GraphNode, E>, nodes: &[NodeIndex]) {
    let mut alerts: Vec<NodeIndex> =
        nodes.iter().copied().filter(|index| graph[*index].severity.is_some()).collect();
    alerts.sort_by(|a, b| (graph[*a].time, &graph[*a].id).cmp(&(graph[*b].time, &graph[*b].id)));
    let mut columns: BTreeMap<NodeIndex, u32> = BTreeMap::new();
    for (column, index) in (0..).zip(&alerts) {
        graph[*index].column = column;
        columns.insert(*index, column);
    }
    let mut lanes: BTreeMap<u32, Vec<(u32, String, NodeIndex)>> = BTreeMap::new();
    for index in nodes.iter().copied().filter(|index| !columns.contains_key(index)) {
        let near: Vec<u32> = graph.neighbors(index).filter_map(|n| columns.get(&n).copied()).collect();
        let middle = near.iter().map(|c| u64::from(*c)).sum::<u64>() / near.len().max(1) as u64;
        let kind = EntityType::ALL.iter().position(|kind| kind.as_str() == graph[index].kind);
        let lane = kind.unwrap_or(EntityType::ALL.len()) as u32 + 1;
        lanes.entry(lane).or_default().push((middle as u32, graph[index].id.clone(), index));
    }
    for (lane, mut members) in lanes {
        members.sort();
        let mut free = 0;
        for (middle, _, index) in members {
            graph[index].lane = lane;
            graph[index].column = middle.max(free);
            free = graph[index].column + 1;
        }
    }
}
