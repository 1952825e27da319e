//! Notices when the wall clock and the clocks that nobody can set part: somebody set the clock, or the machine slept.
//! Pure.

use std::time::Duration;

use crate::time::{Timestamp, Uptime};

/// How far the clocks may part before it counts: slow corrections by NTP do not.
const SLACK: Duration = Duration::from_secs(60);
/// What became due while the machine slept is spread over this long.
const SPREAD: Duration = Duration::from_secs(180);

/// What happened to the clocks since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parted {
    /// The wall clock was set by so many milliseconds, forward or back.
    Set(i64),
    /// The machine slept for so long.
    Slept(Duration),
}

/// The clocks as they stood at the last look.
#[derive(Debug, Clone, Copy)]
pub struct ClockWatch {
    wall: Timestamp,
    uptime: Uptime,
}

impl ClockWatch {
    /// Starts watching.
    pub fn new(wall: Timestamp, uptime: Uptime) -> Self {
        Self { wall, uptime }
    }

    /// Looks at the clocks. What is within the slack adds up until it is not.
    pub fn look(&mut self, wall: Timestamp, uptime: Uptime) -> Option<Parted> {
        let passed = |now: Duration, then: Duration| i64::try_from(now.saturating_sub(then).as_millis()).unwrap_or(0);
        let real = passed(uptime.with_sleep, self.uptime.with_sleep);
        let awake = passed(uptime.awake, self.uptime.awake);
        let set = (wall.as_millis() - self.wall.as_millis()) - real;
        let slept = Duration::from_millis((real - awake).unsigned_abs());
        let slack = i64::try_from(SLACK.as_millis()).unwrap_or(i64::MAX);
        let parted = if set.abs() > slack {
            Some(Parted::Set(set))
        } else if slept > SLACK {
            Some(Parted::Slept(slept))
        } else {
            None
        };
        if parted.is_some() {
            *self = Self { wall, uptime };
        }
        parted
    }
}

/// When something that became due while the machine slept is done: at once if its key is dead, else spread, but
/// before half of what is left of it. `share` is in `0.0..1.0`, drawn for this once.
pub fn spread(dies: Option<Timestamp>, now: Timestamp, share: f64) -> Timestamp {
    let left = dies.map_or(Duration::ZERO, |dies| dies.since(now));
    now + SPREAD.min(left / 2).mul_f64(share.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{Clock, ManualClock};

    const DAY: i64 = 86_400_000;

    fn watched() -> (ManualClock, ClockWatch) {
        let clock = ManualClock::new(Timestamp::from_seconds(1_800_000_000));
        let watch = ClockWatch::new(clock.now(), clock.uptime());
        (clock, watch)
    }

    #[test]
    fn row_51_a_set_clock_and_a_sleep_are_told_apart() {
        let (clock, mut watch) = watched();
        let mut look = || watch.look(clock.now(), clock.uptime());
        clock.pass(Duration::from_secs(15));
        assert_eq!(look(), None);
        for by in [DAY, -DAY] {
            clock.set(clock.now().shifted(by));
            assert_eq!(look(), Some(Parted::Set(by)));
            assert_eq!(look(), None, "told once");
        }
        clock.sleep(Duration::from_secs(7200));
        assert_eq!(look(), Some(Parted::Slept(Duration::from_secs(7200))));
        assert_eq!(look(), None);
    }

    #[test]
    fn small_corrections_add_up() {
        let (clock, mut watch) = watched();
        for _ in 0..3 {
            clock.pass(Duration::from_secs(10));
            clock.set(clock.now().shifted(20_000));
            assert_eq!(watch.look(clock.now(), clock.uptime()), None);
        }
        clock.set(clock.now().shifted(1_000));
        assert_eq!(watch.look(clock.now(), clock.uptime()), Some(Parted::Set(61_000)));
    }

    #[test]
    fn what_became_due_in_sleep_is_spread_and_the_dead_go_first() {
        let now = Timestamp::from_seconds(1_800_000_000);
        assert_eq!(spread(None, now, 0.9), now);
        assert_eq!(spread(Some(now - Duration::from_secs(5)), now, 0.9), now);
        assert_eq!(spread(Some(now + Duration::from_secs(100)), now, 1.0), now + Duration::from_secs(50));
        assert_eq!(spread(Some(now + Duration::from_secs(9000)), now, 1.0), now + SPREAD);
    }
}
