//! Which refresh may leave now: bounded in all and per token-endpoint host, no faster than its gateway takes keys, soonest
//! dead first. Pure.
//!
//! Where many may be in flight, some more get ready: their marks are made durable while others are in flight, and each
//! leaves as soon as a place is free.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::config::plan::AgentPlan;
use crate::credential::record::RecordId;
use crate::time::Timestamp;

/// So many places let one more get ready.
const PLACES_PER_READY_ONE: usize = 8;

/// Refreshes that wait for their turn.
#[derive(Debug)]
pub struct Queue {
    bounds: AgentPlan,
    in_flight: usize,
    hosts: HashMap<String, Host>,
    /// In the order in which they left the line.
    getting_ready: Vec<GettingReady>,
}

/// A refresh that has left the line and has no place yet.
#[derive(Debug)]
struct GettingReady {
    id: RecordId,
    host: String,
    gateway: Option<Arc<str>>,
    /// `None` if it was told not to leave.
    leave: Option<oneshot::Sender<()>>,
}

/// A refresh whose turn it is.
#[derive(Debug)]
pub enum Turn {
    /// It leaves.
    Now(RecordId),
    /// It gets ready, and leaves when this says so. If it never will, it does not leave.
    GetReady(RecordId, oneshot::Receiver<()>),
    /// It was getting ready, and may be told to leave; it has a place.
    Leave(RecordId, oneshot::Sender<()>),
}

#[derive(Debug, Default)]
struct Host {
    /// By the gateway that the keys are for, if it is one. No line is empty.
    lines: BTreeMap<Option<Arc<str>>, BTreeSet<(Timestamp, RecordId)>>,
    in_flight: usize,
    getting_ready: usize,
    paused_until: Option<Timestamp>,
}

impl Host {
    /// The soonest dead for a gateway that is not behind.
    fn first(&self, is_behind: impl Fn(&Option<Arc<str>>) -> bool) -> Option<(Timestamp, RecordId, Option<Arc<str>>)> {
        let moving = self.lines.iter().filter(|(gateway, _)| !is_behind(gateway));
        let first = moving.filter_map(|(gateway, line)| Some((line.first()?, gateway)));
        let ((dies, id), gateway) = first.min_by_key(|(first, _)| **first)?;
        Some((*dies, *id, gateway.clone()))
    }

    /// The first of those for this gateway leaves the line.
    fn leaves_line(&mut self, gateway: &Option<Arc<str>>) {
        let Some(line) = self.lines.get_mut(gateway) else { return };
        line.pop_first();
        if line.is_empty() {
            self.lines.remove(gateway);
        }
    }
}

impl Queue {
    /// An empty queue with these bounds.
    pub fn new(bounds: AgentPlan) -> Self {
        Self { bounds, in_flight: 0, hosts: HashMap::new(), getting_ready: Vec::new() }
    }

    /// Changes the bounds; what is under way goes on.
    pub fn set_bounds(&mut self, bounds: AgentPlan) {
        self.bounds = bounds;
    }

    /// Lines a refresh up; `gateway` is the one that its key is for, if it is one, `dies` when the key it replaces dies.
    pub fn push(&mut self, host: &str, gateway: Option<&Arc<str>>, dies: Timestamp, id: RecordId) {
        self.host(host).lines.entry(gateway.cloned()).or_default().insert((dies, id));
    }

    fn host(&mut self, name: &str) -> &mut Host {
        self.hosts.entry(name.to_owned()).or_default()
    }

    /// Takes a refresh out of the line.
    pub fn remove(&mut self, host: &str, id: RecordId) {
        if let Some(host) = self.hosts.get_mut(host) {
            host.lines.retain(|_, line| {
                line.retain(|(_, waiting)| *waiting != id);
                !line.is_empty()
            });
        }
    }

    /// The refresh whose turn it is, if it is one's; it counts as under way from now on. Those for a gateway that
    /// `is_behind` wait: the old key may die with the request for the new one.
    pub fn next_turn(&mut self, is_behind: impl Fn(&str) -> bool) -> Option<Turn> {
        let is_behind = |gateway: &Option<Arc<str>>| gateway.as_deref().is_some_and(&is_behind);
        if let Some(ready) = self.next_ready(is_behind) {
            let GettingReady { id, host, leave, .. } = self.getting_ready.remove(ready);
            self.in_flight += 1;
            let host = self.host(&host);
            host.in_flight += 1;
            host.getting_ready -= 1;
            return leave.map(|leave| Turn::Leave(id, leave));
        }
        let AgentPlan { max_in_flight: most, max_in_flight_per_host: most_there } = self.bounds;
        let has_place = |host: &Host| self.in_flight < most && host.in_flight < most_there;
        let more_get_ready = self.getting_ready.len() < most / PLACES_PER_READY_ONE;
        let gets_ready = |host: &Host| more_get_ready && host.getting_ready < most_there / PLACES_PER_READY_ONE;
        let open = self.hosts.iter_mut().filter(|(_, host)| has_place(host) || gets_ready(host));
        let first = open.filter_map(|(name, host)| Some((host.first(is_behind)?, name, host)));
        let ((_, id, gateway), name, host) = first.min_by_key(|((dies, id, _), ..)| (*dies, *id))?;
        host.leaves_line(&gateway);
        if has_place(host) {
            host.in_flight += 1;
            self.in_flight += 1;
            return Some(Turn::Now(id));
        }
        host.getting_ready += 1;
        let (leave, told) = oneshot::channel();
        self.getting_ready.push(GettingReady { id, host: name.clone(), gateway, leave: Some(leave) });
        Some(Turn::GetReady(id, told))
    }

    /// The first of those that get ready for which there is a place.
    fn next_ready(&self, is_behind: impl Fn(&Option<Arc<str>>) -> bool) -> Option<usize> {
        let AgentPlan { max_in_flight: most, max_in_flight_per_host: most_there } = self.bounds;
        let has_place = |host: &str| self.hosts.get(host).is_some_and(|host| host.in_flight < most_there);
        let may_leave =
            |ready: &GettingReady| ready.leave.is_some() && has_place(&ready.host) && !is_behind(&ready.gateway);
        self.getting_ready.iter().position(may_leave).filter(|_| self.in_flight < most)
    }

    /// How many refreshes have left the line and have no answer yet.
    pub fn under_way(&self) -> usize {
        self.in_flight + self.getting_ready.len()
    }

    /// A refresh at this host got its answer, or did not leave; pauses that are over are forgotten.
    pub fn done(&mut self, host: &str, id: RecordId, now: Timestamp) {
        let ready = self.getting_ready.iter().position(|ready| ready.id == id);
        let count = self.hosts.get_mut(host).map(|host| match ready {
            Some(_) => &mut host.getting_ready,
            None => &mut host.in_flight,
        });
        if let Some(count) = count {
            *count = count.saturating_sub(1);
        }
        match ready {
            Some(ready) => drop(self.getting_ready.remove(ready)),
            None => self.in_flight = self.in_flight.saturating_sub(1),
        }
        let is_paused = |host: &Host| host.paused_until.is_some_and(|until| until > now);
        let is_in_use = |host: &Host| host.in_flight > 0 || host.getting_ready > 0 || !host.lines.is_empty();
        self.hosts.retain(|_, host| is_in_use(host) || is_paused(host));
    }

    /// A host asked to be left alone: nothing lines up for it until then. Those that had leave the line; those that were
    /// getting ready are told not to leave.
    pub fn pause(&mut self, host: &str, until: Timestamp) -> Vec<RecordId> {
        for ready in self.getting_ready.iter_mut().filter(|ready| ready.host == host) {
            ready.leave = None;
        }
        let host = self.host(host);
        host.paused_until = host.paused_until.max(Some(until));
        std::mem::take(&mut host.lines).into_values().flatten().map(|(_, id)| id).collect()
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
        self.hosts.values().all(|host| host.lines.is_empty())
    }

    /// Forgets everything that waits: nothing new starts, and nothing that was getting ready leaves.
    pub fn clear(&mut self) {
        self.getting_ready.iter_mut().for_each(|ready| ready.leave = None);
        self.hosts.values_mut().for_each(|host| host.lines.clear());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    /// A queue with these bounds, in all and per host.
    fn queue(max_in_flight: usize, max_in_flight_per_host: usize) -> Queue {
        Queue::new(AgentPlan { max_in_flight, max_in_flight_per_host })
    }

    /// The next one that leaves at once.
    fn leaves(queue: &mut Queue) -> Option<i64> {
        queue.next_turn(|_| false).map(|turn| match turn {
            Turn::Now(id) => id.0,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn the_soonest_dead_leaves_first_within_both_bounds() {
        let mut queue = queue(3, 2);
        let (a, b) = ("a", "b");
        for (host, dies, id) in [(a, 30, 1), (a, 10, 2), (a, 20, 3), (b, 40, 4), (b, 50, 5)] {
            queue.push(host, None, at(dies), RecordId(id));
        }
        let leaving: Vec<_> = std::iter::from_fn(|| leaves(&mut queue)).collect();
        assert_eq!(leaving, [2, 3, 4], "two of host a, then one of b, then the whole is full");
        queue.done("a", RecordId(2), at(0));
        assert_eq!(leaves(&mut queue), Some(1));
        assert_eq!(leaves(&mut queue), None);
    }

    /// Those that leave at once, those that leave after they got ready, and those that get ready.
    fn turns(queue: &mut Queue, told: &mut Vec<oneshot::Receiver<()>>) -> [Vec<i64>; 3] {
        let mut turns = <[Vec<i64>; 3]>::default();
        while let Some(turn) = queue.next_turn(|gateway| gateway == "slow") {
            match turn {
                Turn::Now(id) => turns[0].push(id.0),
                Turn::Leave(id, leave) => {
                    leave.send(()).unwrap();
                    turns[1].push(id.0);
                }
                Turn::GetReady(id, leave) => {
                    told.push(leave);
                    turns[2].push(id.0);
                }
            }
        }
        turns
    }

    #[test]
    fn where_many_may_be_in_flight_some_more_get_ready_and_leave_when_a_place_is_free() {
        let (mut queue, mut told) = (queue(24, 16), Vec::new());
        let slow: Arc<str> = "slow".into();
        (1..=20).for_each(|id| queue.push("a", None, at(id), RecordId(id)));
        (21..=40).for_each(|id| queue.push("b", None, at(id), RecordId(id)));
        queue.push("b", Some(&slow), at(0), RecordId(41));
        let [now, left, ready] = turns(&mut queue, &mut told);
        assert_eq!((now, left), ((1..=16).chain(21..=28).collect(), vec![]), "both bounds hold");
        assert_eq!(ready, [17, 18, 29], "an eighth of the places of a host, and of all");
        assert_eq!(queue.under_way(), 27);
        queue.done("b", RecordId(21), at(0));
        assert_eq!(
            turns(&mut queue, &mut told),
            [vec![], vec![29], vec![30]],
            "host a has no place, though it was first"
        );
        queue.done("a", RecordId(18), at(0));
        assert_eq!(turns(&mut queue, &mut told), [vec![], vec![], vec![19]], "one that was not sent had no place");
        queue.done("a", RecordId(1), at(0));
        assert_eq!(turns(&mut queue, &mut told), [vec![], vec![17], vec![20]]);
        assert_eq!(queue.under_way(), 27);
    }

    #[test]
    fn what_gets_ready_does_not_leave_for_a_host_that_is_paused_nor_after_the_end_nor_into_a_gateway_that_is_behind() {
        let (mut queue, mut told) = (queue(64, 16), Vec::new());
        (1..=20).for_each(|id| queue.push("a", None, at(id), RecordId(id)));
        (21..=40).for_each(|id| queue.push("b", None, at(id), RecordId(id)));
        assert_eq!(turns(&mut queue, &mut told)[2], [17, 18, 37, 38]);
        assert_eq!(queue.pause("a", at(60)), [19, 20].map(RecordId));
        queue.done("a", RecordId(1), at(0));
        queue.done("b", RecordId(21), at(0));
        assert_eq!(turns(&mut queue, &mut told), [vec![], vec![37], vec![39]]);
        queue.clear();
        queue.done("b", RecordId(22), at(0));
        assert_eq!(turns(&mut queue, &mut told), <[Vec<i64>; 3]>::default());
        let told: Vec<_> = told.into_iter().map(|mut leave| leave.try_recv()).collect();
        let never = Err(oneshot::error::TryRecvError::Closed);
        assert_eq!(told, [never.clone(), never.clone(), Ok(()), never.clone(), never]);
        assert_eq!(
            queue.under_way(),
            15 + 2 + 15 + 2,
            "those that were told not to leave are under way until they say so"
        );
        [17, 18].into_iter().for_each(|id| queue.done("a", RecordId(id), at(0)));
        assert_eq!(queue.under_way(), 15 + 15 + 2);

        let (mut queue, mut told) = (self::queue(8, 8), Vec::new());
        let gateway: Arc<str> = "gateway".into();
        (1..=9).for_each(|id| queue.push("a", Some(&gateway), at(id), RecordId(id)));
        assert_eq!(turns(&mut queue, &mut told)[2], [9]);
        queue.done("a", RecordId(1), at(0));
        assert!(queue.next_turn(|_| true).is_none());
        assert_eq!(turns(&mut queue, &mut told)[1], [9]);
    }

    #[test]
    fn row_40_a_paused_host_waits_and_others_do_not() {
        let mut queue = queue(7, 7);
        let (a, b) = ("a", "b");
        queue.push(a, None, at(1), RecordId(1));
        queue.push(b, None, at(2), RecordId(2));
        assert_eq!(queue.pause(a, at(60)), [RecordId(1)]);
        assert_eq!(leaves(&mut queue), Some(2));
        assert_eq!(leaves(&mut queue), None);
        assert_eq!(queue.pause(a, at(30)), [], "a shorter wish does not end a longer one");
        assert_eq!((queue.paused_until("a", at(59)), queue.paused_until("b", at(0))), (Some(at(60)), None));
        queue.shift(10_000);
        assert_eq!((queue.paused_until("a", at(69)), queue.paused_until("a", at(70))), (Some(at(70)), None));
    }

    #[test]
    fn those_for_a_gateway_that_is_behind_wait_and_others_do_not() {
        let mut queue = queue(7, 7);
        let (slow, fast): (Arc<str>, Arc<str>) = ("slow".into(), "fast".into());
        for (gateway, dies) in [(Some(&slow), 1), (Some(&slow), 2), (Some(&fast), 3), (None, 4)] {
            queue.push("a", gateway, at(dies), RecordId(dies));
        }
        let leaving = turns(&mut queue, &mut Vec::new());
        assert_eq!(leaving, [vec![3, 4], vec![], vec![]], "what feeds several gateways waits for none of them");
        queue.remove("a", RecordId(1));
        assert_eq!(leaves(&mut queue), Some(2));
        assert!(queue.is_empty());
    }
}
