//! How well a grouping of alerts into incidents matches the truth.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Noise in a truth: an alert that belongs to no story.
pub const NOISE: &str = "-";

/// Quality of a grouping: pairwise and B-cubed precision and recall (Amigó et al., 2009) over the alerts of true
/// stories. Noise counts against precision wherever it shares a group with such an alert. All shares are 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Groups that hold at least one alert of a story.
    pub groups: usize,
    /// B-cubed precision.
    pub b3_precision: f64,
    /// B-cubed recall.
    pub b3_recall: f64,
    /// Pairwise precision.
    pub pair_precision: f64,
    /// Pairwise recall.
    pub pair_recall: f64,
    /// Share of these groups that hold alerts of two or more stories.
    pub over_merge: f64,
    /// Groups a story is spread over, on average, less one.
    pub under_merge: f64,
}

impl Score {
    /// Scores `predicted` (alert to group) against `truth` (alert to story, [`NOISE`] for none). An alert that the
    /// prediction leaves out counts as alone.
    pub fn of(truth: &BTreeMap<String, String>, predicted: &BTreeMap<String, String>) -> Self {
        let cells = Cells::count(truth, predicted);
        let n: f64 = cells.story.values().sum();
        let noise = |group: &str| cells.noise.get(group).copied().unwrap_or(0.0);
        let share = |sum: f64, of: f64| if of > 0.0 { sum / of } else { 1.0 };
        let hits: f64 = cells.both.values().map(|c| pairs(*c)).sum();
        let predicted_pairs: f64 = cells.group.iter().map(|(g, k)| pairs(*k) + k * noise(g)).sum();
        let true_pairs: f64 = cells.story.values().map(|k| pairs(*k)).sum();
        let (by_group, by_story) = cells.spread();
        let merged = by_group.values().filter(|stories| stories.len() > 1).count();
        let spread: usize = by_story.values().map(BTreeSet::len).sum();
        Score {
            groups: cells.group.len(),
            b3_precision: share(
                cells.both.iter().map(|((g, _), c)| c * c / (cells.group[g] + noise(g))).sum(),
                n,
            ),
            b3_recall: share(cells.both.iter().map(|((_, s), c)| c * c / cells.story[s]).sum(), n),
            pair_precision: share(hits, predicted_pairs),
            pair_recall: share(hits, true_pairs),
            over_merge: merged as f64 / by_group.len().max(1) as f64,
            under_merge: spread as f64 / by_story.len().max(1) as f64 - 1.0,
        }
    }

    /// Harmonic mean of B-cubed precision and recall.
    pub fn b3_f1(&self) -> f64 {
        f1(self.b3_precision, self.b3_recall)
    }

    /// Harmonic mean of pairwise precision and recall.
    pub fn pair_f1(&self) -> f64 {
        f1(self.pair_precision, self.pair_recall)
    }
}

fn f1(precision: f64, recall: f64) -> f64 {
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

fn pairs(n: f64) -> f64 {
    n * (n - 1.0) / 2.0
}

/// How many alerts of which story are in which group.
#[derive(Default)]
struct Cells<'a> {
    both: HashMap<(&'a str, &'a str), f64>,
    group: HashMap<&'a str, f64>,
    story: HashMap<&'a str, f64>,
    noise: HashMap<&'a str, f64>,
}

type Spread<'a> = HashMap<&'a str, BTreeSet<&'a str>>;

impl<'a> Cells<'a> {
    fn count(truth: &'a BTreeMap<String, String>, predicted: &'a BTreeMap<String, String>) -> Self {
        let mut cells = Cells::default();
        for (alert, story) in truth {
            let group = predicted.get(alert).unwrap_or(alert).as_str();
            if story == NOISE {
                *cells.noise.entry(group).or_default() += 1.0;
                continue;
            }
            *cells.story.entry(story).or_default() += 1.0;
            *cells.group.entry(group).or_default() += 1.0;
            *cells.both.entry((group, story)).or_default() += 1.0;
        }
        cells
    }

    fn spread(&self) -> (Spread<'a>, Spread<'a>) {
        let (mut by_group, mut by_story) = (Spread::new(), Spread::new());
        for (group, story) in self.both.keys() {
            by_group.entry(group).or_default().insert(story);
            by_story.entry(story).or_default().insert(group);
        }
        (by_group, by_story)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grouping(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(a, g)| ((*a).to_owned(), (*g).to_owned())).collect()
    }

    #[test]
    fn a_perfect_grouping_scores_one() {
        let truth = grouping(&[("a", "s"), ("b", "s"), ("c", "t"), ("n", NOISE)]);
        let score = Score::of(&truth, &grouping(&[("a", "1"), ("b", "1"), ("c", "2"), ("n", "3")]));
        assert_eq!(
            (score.b3_f1(), score.pair_f1(), score.over_merge, score.under_merge),
            (1.0, 1.0, 0.0, 0.0)
        );
    }

    #[test]
    fn merging_costs_precision_and_splitting_costs_recall() {
        let truth = grouping(&[("a", "s"), ("b", "s"), ("c", "t"), ("d", "t")]);
        let merged = Score::of(&truth, &grouping(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")]));
        assert_eq!((merged.b3_precision, merged.b3_recall, merged.over_merge), (0.5, 1.0, 1.0));
        let split = Score::of(&truth, &BTreeMap::new());
        assert_eq!((split.b3_precision, split.b3_recall, split.under_merge), (1.0, 0.5, 1.0));
    }

    #[test]
    fn noise_in_a_group_costs_precision() {
        let truth = grouping(&[("a", "s"), ("b", "s"), ("n", NOISE)]);
        let score = Score::of(&truth, &grouping(&[("a", "1"), ("b", "1"), ("n", "1")]));
        assert!((score.b3_precision - 2.0 / 3.0).abs() < 1e-9 && score.pair_precision < 0.5);
    }
}
