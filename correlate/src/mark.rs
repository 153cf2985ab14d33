//! What is looked at of an alert before it is compared in full: one cache line each, side by side. Of the alerts nearest
//! to another most share but one thing with it, and cannot join it whatever else there is.

use smallvec::SmallVec;

use crate::board::Node;
use crate::evidence::{Evidence, Key};
use crate::fixed::{ONE, decay, either, times};
use crate::parameters::File;
use crate::score::Weighed;

/// Posts of an alert that are looked at; one with more is always compared.
const PRINTS: usize = 16;

/// A placed alert, in short.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    /// Of its keys; the first again where it has fewer.
    prints: [u16; PRINTS],
    is_whole: bool,
    sigma: u32,
    pub(crate) begin: i64,
    end: i64,
    /// The latest `begin` among it and those placed before it.
    pub(crate) latest: i64,
}

fn print(key: Key) -> u16 {
    (key.0 >> 48) as u16
}

impl Mark {
    pub(crate) fn of(node: &Node, before: Option<&Mark>) -> Self {
        let first = node.posts.first().map_or(0, |post| print(post.key));
        let mut prints = [first; PRINTS];
        for (slot, post) in prints.iter_mut().zip(&node.posts) {
            *slot = print(post.key);
        }
        let is_whole = node.posts.len() <= PRINTS;
        let (sigma, begin, end, latest) = (node.sigma, node.begin, node.end, node.begin);
        Self { prints, is_whole, sigma, begin, end, latest }.after(before)
    }

    /// The same, placed after another.
    pub(crate) fn after(self, before: Option<&Mark>) -> Self {
        Self { latest: before.map_or(self.begin, |before| before.latest.max(self.begin)), ..self }
    }

    fn has(&self, print: u16) -> bool {
        // Without branches, so that all are compared at once.
        self.prints.iter().fold(false, |found, own| found | (*own == print))
    }
}

/// The most that an alert can weigh with others.
pub(crate) struct Bound<'a> {
    file: &'a File,
    sigma: u32,
    /// The most that the order of two alerts makes of what they share.
    kappa: u32,
    /// What weighs less than this does not matter.
    enough: u32,
    begin: i64,
    end: i64,
    asks: SmallVec<[Cap; 16]>,
}

/// The most that an ask is worth.
struct Cap {
    print: u16,
    rarity: u32,
    beta: u32,
    half_life_us: i64,
    /// With an alert of the same moment.
    at_most: u32,
}

impl<'a> Bound<'a> {
    pub(crate) fn of(node: &Node, asks: &[Weighed], file: &'a File) -> Self {
        let cap = |weighed: &Weighed| {
            let own = file.weighing(weighed.ask.post.kind);
            // A mailbox that either side only implies is the user behind it.
            let user = file.weighing(Evidence::User);
            let (beta, half_life_us) = match (&weighed.ask.lead, weighed.ask.post.kind) {
                (Some(_), _) => (own.beta.0, i64::MAX),
                (None, Evidence::Mailbox) => {
                    (own.beta.0.max(user.beta.0), own.half_life.0.max(user.half_life.0))
                }
                (None, _) => (own.beta.0, own.half_life.0),
            };
            let (print, rarity) = (print(weighed.ask.post.key), weighed.rarity);
            let at_most = times(either(beta, file.at_once.share.0), rarity);
            Cap { print, rarity, beta, half_life_us, at_most }
        };
        let asks = asks.iter().map(cap).collect();
        let order = &file.kappa;
        Self {
            file,
            sigma: node.sigma,
            kappa: order.forward.0.max(order.same.0).max(order.backward.0).max(ONE),
            enough: file.theta.0.min(file.corroborated.0),
            begin: node.begin,
            end: node.end,
            asks,
        }
    }

    /// Whether the alert and another may weigh so much that it matters.
    pub(crate) fn may_matter(&self, other: &Mark) -> bool {
        self.with(other) >= self.enough
    }

    /// No less than what the alert weighs with another.
    pub(crate) fn with(&self, other: &Mark) -> u32 {
        if !other.is_whole {
            return u32::MAX;
        }
        let file = self.file;
        let telling = times(self.sigma.min(other.sigma), self.kappa);
        if telling < self.enough {
            return telling;
        }
        let shared = || self.asks.iter().filter(|ask| other.has(ask.print));
        // Each step rounds, and these may come in another order than when the pair is weighed.
        let rounded = self.asks.len() as u32 + 2;
        let together = |worth: &dyn Fn(&Cap) -> u32| {
            times(shared().fold(0, |sum, ask| either(sum, worth(ask))), telling).saturating_add(rounded)
        };
        // Time costs divisions, and most pairs are too weak at any distance.
        let at_most = together(&|ask| ask.at_most);
        if at_most < self.enough {
            return at_most;
        }
        let gap_us = self.begin.max(other.begin).saturating_sub(self.end.min(other.end)).max(0);
        let apart_us = self.begin.saturating_sub(other.begin).saturating_abs();
        let at_once = times(file.at_once.share.0, decay(apart_us, file.at_once.half_life.0));
        together(&|ask| {
            let faded = times(ask.beta, decay(gap_us, ask.half_life_us));
            times(either(faded, at_once), ask.rarity)
        })
    }
}
