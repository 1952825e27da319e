//! Which refresh may leave now: bounded in all and per token-endpoint host, no faster than its gateway takes keys, soonest
//! dead first. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::config::plan::AgentPlan;
use crate::credential::record::RecordId;
use crate::time::Timestamp;

/// Refreshes that wait for their turn.
#[derive(Debug)]
pub struct Queue {
    bounds: AgentPlan,
    in_flight: usize,
    hosts: HashMap<String, Host>,
}

#[derive(Debug, Default)]
struct Host {
    /// By the gateway that the keys are for, if it is one. No line is empty.
    ready: BTreeMap<Option<Arc<str>>, BTreeSet<(Timestamp, RecordId)>>,
    in_flight: usize,
    paused_until: Option<Timestamp>,
}

impl Host {
    /// The soonest dead for a gateway that is not behind.
    fn first(&self, is_behind: impl Fn(&str) -> bool) -> Option<(Timestamp, RecordId, Option<Arc<str>>)> {
        let moving = self.ready.iter().filter(|(gateway, _)| !gateway.as_deref().is_some_and(&is_behind));
        let first = moving.filter_map(|(gateway, line)| Some((line.first()?, gateway)));
        let ((dies, id), gateway) = first.min_by_key(|(first, _)| **first)?;
        Some((*dies, *id, gateway.clone()))
    }
}

impl Queue {
    /// An empty queue with these bounds.
    pub fn new(bounds: AgentPlan) -> Self {
        Self { bounds, in_flight: 0, hosts: HashMap::new() }
    }

    /// Changes the bounds; what is under way goes on.
    pub fn set_bounds(&mut self, bounds: AgentPlan) {
        self.bounds = bounds;
    }

    /// Lines a refresh up; `gateway` is the one that its key is for, if it is one, `dies` when the key it replaces dies.
    pub fn push(&mut self, host: &str, gateway: Option<&Arc<str>>, dies: Timestamp, id: RecordId) {
        self.host(host).ready.entry(gateway.cloned()).or_default().insert((dies, id));
    }

    fn host(&mut self, name: &str) -> &mut Host {
        self.hosts.entry(name.to_owned()).or_default()
    }

    /// Takes a refresh out of the line.
    pub fn remove(&mut self, host: &str, id: RecordId) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.ready.retain(|_, line| {
                line.retain(|(_, waiting)| *waiting != id);
                !line.is_empty()
            });
        }
    }

    /// The refresh that leaves next, if one may; it counts as under way from now on. Those for a gateway that `is_behind`
    /// wait: the old key may die with the request for the new one.
    pub fn pop(&mut self, is_behind: impl Fn(&str) -> bool) -> Option<RecordId> {
        if self.in_flight >= self.bounds.max_in_flight {
            return None;
        }
        let most = self.bounds.max_in_flight_per_host;
        let open = self.hosts.values_mut().filter(|host| host.in_flight < most);
        let first = open.filter_map(|host| Some((host.first(&is_behind)?, host)));
        let ((_, id, gateway), host) = first.min_by_key(|((dies, id, _), _)| (*dies, *id))?;
        let line = host.ready.get_mut(&gateway)?;
        line.pop_first();
        if line.is_empty() {
            host.ready.remove(&gateway);
        }
        host.in_flight += 1;
        self.in_flight += 1;
        Some(id)
    }

    /// How many refreshes have left and have no answer yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// A refresh at this host got its answer, or did not leave; pauses that are over are forgotten.
    pub fn done(&mut self, host: &str, now: Timestamp) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Some(host) = self.hosts.get_mut(host) {
            host.in_flight = host.in_flight.saturating_sub(1);
        }
        let is_paused = |host: &Host| host.paused_until.is_some_and(|until| until > now);
        self.hosts.retain(|_, host| host.in_flight > 0 || !host.ready.is_empty() || is_paused(host));
    }

    /// A host asked to be left alone: nothing lines up for it until then. Those that had leave the line.
    pub fn pause(&mut self, host: &str, until: Timestamp) -> Vec<RecordId> {
        let host = self.host(host);
        host.paused_until = host.paused_until.max(Some(until));
        std::mem::take(&mut host.ready).into_values().flatten().map(|(_, id)| id).collect()
    }

    /// Until when a host is to be left alone.
    pub fn paused_until(&self, host: &str, now: Timestamp) -> Option<Timestamp> {
        self.hosts.get(host)?.paused_until.filter(|until| *until > now)
    }

    /// The wall clock was set by so many milliseconds: pauses are as long as they were.
    pub fn shift(&mut self, milliseconds: i64) {
        for until in self.hosts.values_mut().filter_map(|host| host.paused_until.as_mut()) {
            *until = until.shifted(milliseconds);
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.hosts.values().all(|host| host.ready.is_empty())
    }

    /// Forgets everything that waits: nothing new starts.
    pub fn clear(&mut self) {
        self.hosts.values_mut().for_each(|host| host.ready.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn the_soonest_dead_leaves_first_within_both_bounds() {
        let mut queue = Queue::new(AgentPlan { max_in_flight: 3, max_in_flight_per_host: 2 });
        let (a, b) = ("a", "b");
        for (host, dies, id) in [(a, 30, 1), (a, 10, 2), (a, 20, 3), (b, 40, 4), (b, 50, 5)] {
            queue.push(host, None, at(dies), RecordId(id));
        }
        let leaving: Vec<_> = std::iter::from_fn(|| queue.pop(|_| false)).map(|id| id.0).collect();
        assert_eq!(leaving, [2, 3, 4], "two of host a, then one of b, then the whole is full");
        queue.done("a", at(0));
        assert_eq!(queue.pop(|_| false), Some(RecordId(1)));
        assert_eq!(queue.pop(|_| false), None);
    }

    #[test]
    fn row_40_a_paused_host_waits_and_others_do_not() {
        let mut queue = Queue::new(AgentPlan { max_in_flight: 9, max_in_flight_per_host: 9 });
        let (a, b) = ("a", "b");
        queue.push(a, None, at(1), RecordId(1));
        queue.push(b, None, at(2), RecordId(2));
        assert_eq!(queue.pause(a, at(60)), [RecordId(1)]);
        assert_eq!(queue.pop(|_| false), Some(RecordId(2)));
        assert_eq!(queue.pop(|_| false), None);
        assert_eq!(queue.pause(a, at(30)), [], "a shorter wish does not end a longer one");
        assert_eq!((queue.paused_until("a", at(59)), queue.paused_until("b", at(0))), (Some(at(60)), None));
        queue.shift(10_000);
        assert_eq!((queue.paused_until("a", at(69)), queue.paused_until("a", at(70))), (Some(at(70)), None));
    }

    #[test]
    fn those_for_a_gateway_that_is_behind_wait_and_others_do_not() {
        let mut queue = Queue::new(AgentPlan { max_in_flight: 9, max_in_flight_per_host: 9 });
        let (slow, fast): (Arc<str>, Arc<str>) = ("slow".into(), "fast".into());
        for (gateway, dies) in [(Some(&slow), 1), (Some(&slow), 2), (Some(&fast), 3), (None, 4)] {
            queue.push("a", gateway, at(dies), RecordId(dies));
        }
        let leaving: Vec<_> = std::iter::from_fn(|| queue.pop(|gateway| gateway == "slow")).map(|id| id.0).collect();
        assert_eq!(leaving, [3, 4], "what feeds several gateways waits for none of them");
        queue.remove("a", RecordId(1));
        assert_eq!(queue.pop(|_| false), Some(RecordId(2)));
        assert!(queue.is_empty());
    }
}
