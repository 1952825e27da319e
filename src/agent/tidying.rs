//! When free memory goes back to the system: after work, and now and then where work never ends.

use std::time::Duration;

use crate::time::Timestamp;

/// How long it must have been quiet.
const AFTER: Duration = Duration::from_secs(1);
/// How long work puts it off at most. It takes a millisecond for each ten megabytes, and thousands of credentials may
/// never leave a second without a refresh.
const AT_LATEST: Duration = Duration::from_secs(60);

/// When free memory is given back next, if there may be some.
#[derive(Debug)]
pub(super) struct Tidying {
    /// When, and at the latest.
    planned: Option<(Timestamp, Timestamp)>,
}

impl Tidying {
    /// After a start, which takes memory too.
    pub fn new(now: Timestamp) -> Self {
        let mut tidying = Self { planned: None };
        tidying.worked(now);
        tidying
    }

    /// There was work that takes memory for a moment.
    pub fn worked(&mut self, now: Timestamp) {
        let latest = self.planned.map_or(now + AT_LATEST, |(_, latest)| latest);
        self.planned = Some(((now + AFTER).min(latest), latest));
    }

    /// Whether it is time. Says so once.
    pub fn is_due(&mut self, now: Timestamp) -> bool {
        self.planned.take_if(|(at, _)| *at <= now).is_some()
    }

    /// When it wants to be asked.
    pub fn wake(&self) -> Option<Timestamp> {
        self.planned.map(|(at, _)| at)
    }

    /// The clock was set by so many milliseconds.
    pub fn shift(&mut self, milliseconds: i64) {
        self.planned = self.planned.map(|(at, latest)| (at.shifted(milliseconds), latest.shifted(milliseconds)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(count: i64) -> Timestamp {
        Timestamp::from_seconds(count)
    }

    #[test]
    fn it_waits_for_a_quiet_second_and_is_done_once() {
        let mut tidying = Tidying::new(second(0));
        tidying.worked(second(0));
        assert!(!tidying.is_due(second(0)));
        assert_eq!(tidying.wake(), Some(second(1)));
        assert!(tidying.is_due(second(1)));
        assert!(!tidying.is_due(second(2)));
        assert_eq!(tidying.wake(), None, "nothing to do until there was work");
    }

    #[test]
    fn work_that_never_ends_puts_it_off_for_a_minute_and_no_longer() {
        let mut tidying = Tidying::new(second(0));
        let done: Vec<i64> = (0..=180)
            .filter(|&now| {
                tidying.worked(second(now));
                tidying.is_due(second(now))
            })
            .collect();
        assert_eq!(done, [60, 121], "a minute after the first work since the last time");
    }

    #[test]
    fn a_clock_that_is_set_neither_hastens_nor_delays_it() {
        let mut tidying = Tidying::new(second(1_000));
        tidying.shift(-500_000);
        assert_eq!(tidying.wake(), Some(second(501)));
        tidying.worked(second(560));
        assert_eq!(tidying.wake(), Some(second(560)), "the latest was set back too");
    }
}
