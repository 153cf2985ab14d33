//! GraphML (<http://graphml.graphdrawing.org/specification.html>), which Gephi, yEd, Cytoscape and NetworkX read.

use event::{GraphEdge, GraphNode, IncidentGraph};

/// Attributes: id, of what, name, type.
const KEYS: [(&str, &str, &str, &str); 13] = [
    ("kind", "node", "kind", "string"),
    ("label", "node", "label", "string"),
    ("time", "node", "time", "string"),
    ("severity", "node", "severity", "string"),
    ("alerts", "node", "alerts", "int"),
    ("reaches", "node", "reaches", "int"),
    ("cut", "node", "cut", "boolean"),
    ("column", "node", "column", "int"),
    ("lane", "node", "lane", "int"),
    ("relation", "edge", "relation", "string"),
    ("weight", "edge", "weight", "double"),
    ("shown_by", "edge", "shown_by", "string"),
    ("title", "graph", "title", "string"),
];

/// The graph as a GraphML document.
pub fn graphml(graph: &IncidentGraph) -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<graphml xmlns=\"http://graphml.graphdrawing.org/xmlns\">\n",
    );
    for (id, of, name, kind) in KEYS {
        line(
            &mut xml,
            1,
            &format!("<key id=\"{id}\" for=\"{of}\" attr.name=\"{name}\" attr.type=\"{kind}\"/>"),
        );
    }
    let id = escaped(graph.incident.as_str());
    line(&mut xml, 1, &format!("<graph id=\"{id}\" edgedefault=\"directed\">"));
    data(&mut xml, 2, "title", Some(&graph.title));
    for each in &graph.nodes {
        let is_cut = graph.cuts.iter().any(|cut| cut.node == each.id);
        node(&mut xml, each, is_cut);
    }
    for (n, each) in graph.edges.iter().enumerate() {
        edge(&mut xml, n, each);
    }
    xml.push_str("  </graph>\n</graphml>\n");
    xml
}

fn node(xml: &mut String, node: &GraphNode, is_cut: bool) {
    line(xml, 2, &format!("<node id=\"{}\">", escaped(&node.id)));
    data(xml, 3, "kind", Some(&node.kind));
    data(xml, 3, "label", Some(&node.label));
    data(xml, 3, "time", node.time);
    data(xml, 3, "severity", node.severity);
    data(xml, 3, "alerts", node.alerts);
    data(xml, 3, "reaches", node.reaches);
    data(xml, 3, "cut", is_cut.then_some(true));
    data(xml, 3, "column", Some(node.column));
    data(xml, 3, "lane", Some(node.lane));
    line(xml, 2, "</node>");
}

fn edge(xml: &mut String, n: usize, edge: &GraphEdge) {
    let (from, to) = (escaped(&edge.from), escaped(&edge.to));
    line(xml, 2, &format!("<edge id=\"e{n}\" source=\"{from}\" target=\"{to}\">"));
    data(xml, 3, "relation", Some(&edge.relation));
    let weight = edge.weight_ppm.map(|ppm| format!("{}.{:06}", ppm / 1_000_000, ppm % 1_000_000));
    data(xml, 3, "weight", weight);
    data(xml, 3, "shown_by", edge.alert.as_ref());
    line(xml, 2, "</edge>");
}

fn data(xml: &mut String, depth: usize, key: &str, value: Option<impl ToString>) {
    if let Some(value) = value {
        line(xml, depth, &format!("<data key=\"{key}\">{}</data>", escaped(&value.to_string())));
    }
}

fn line(xml: &mut String, depth: usize, text: &str) {
    xml.push_str(&format!("{:width$}{text}\n", "", width = depth * 2));
}

/// Text for content and attributes. What XML 1.0 cannot hold at all (control characters, U+FFFE, U+FFFF) becomes U+FFFD.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // As a character a parser would make a space of it.
            '\t' | '\n' | '\r' => out.push_str(&format!("&#{};", u32::from(c))),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_stay_text() {
        assert_eq!(escaped("a<b & \"c\">\u{0}\n"), "a&lt;b &amp; &quot;c&quot;&gt;\u{fffd}&#10;");
    }
}
