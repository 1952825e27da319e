//! Wall-clock time: the only place that reads the clock.
//!
//! Due times are absolute and stored, so they are wall-clock [`Timestamp`]s; lengths of time are
//! [`std::time::Duration`]s. Pure rooms take `now` as an argument.

use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment in milliseconds since the Unix epoch; arithmetic saturates.
///
/// Kept as one more than that: a moment that may not be there (`Option`) takes no more memory than one that is, and there
/// are ten of them for each credential.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "i64", into = "i64")]
pub struct Timestamp(NonZeroU64);

/// The last moment that can be named; lifetimes beyond it are cut to it.
const LAST: i64 = 253_402_207_200_000; // 9999-12-30T22:00:00Z, jiff's last moment in every time zone

impl Timestamp {
    /// The end of the year 9999: "never".
    pub const MAX: Self = Self(NonZeroU64::MIN.saturating_add(LAST as u64));
    /// The Unix epoch.
    pub const EPOCH: Self = Self(NonZeroU64::MIN);

    /// From milliseconds since the epoch, cut to the years 1970 to 9999.
    pub fn from_millis(milliseconds: i64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(milliseconds.clamp(0, LAST).unsigned_abs()))
    }

    /// From seconds since the epoch, cut to the years 1970 to 9999.
    pub fn from_seconds(seconds: i64) -> Self {
        Self::from_millis(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub fn as_millis(self) -> i64 {
        (self.0.get() - 1).cast_signed()
    }

    /// Whole seconds since the epoch.
    pub fn as_seconds(self) -> i64 {
        self.as_millis() / 1000
    }

    /// The time from `earlier` to here; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.get().saturating_sub(earlier.0.get()))
    }

    /// The moment this one is called by a clock that was set by so many milliseconds, forward or back.
    pub fn shifted(self, milliseconds: i64) -> Self {
        Self::from_millis(self.as_millis().saturating_add(milliseconds))
    }

    /// Parses an RFC 3339 date and time with any offset.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let moment: jiff::Timestamp = text.trim().parse().ok()?;
        Some(Self::from_millis(moment.as_millisecond()))
    }

    /// Parses an HTTP date (RFC 9110 §5.6.7), as `Date` and `Retry-After` carry it.
    pub fn parse_http_date(text: &str) -> Option<Self> {
        httpdate::parse_http_date(text.trim()).ok().map(Self::from)
    }

    fn moment(self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.as_millis()).unwrap_or(jiff::Timestamp::MAX)
    }

    /// The hour and minute in the machine's time zone, "14:05", with the date before it when it is not today's.
    pub fn local_short(self, now: Self) -> String {
        let zone = jiff::tz::TimeZone::system();
        let here = self.moment().to_zoned(zone.clone());
        let today = now.moment().to_zoned(zone).date();
        let format = if here.date() == today { "%H:%M" } else { "%Y-%m-%d %H:%M" };
        here.strftime(format).to_string()
    }
}

/// The time of day as people near this machine have it. The zone is looked up once.
pub struct LocalClock {
    zone: jiff::tz::TimeZone,
    today: jiff::civil::Date,
    now: Timestamp,
}

impl LocalClock {
    /// The machine's time zone, on the day of `now`.
    pub fn new(now: Timestamp) -> Self {
        let zone = jiff::tz::TimeZone::system();
        let today = now.moment().to_zoned(zone.clone()).date();
        Self { zone, today, now }
    }

    /// "14:05"; of another day "12-30 14:05", of another year "2025-12-30 14:05".
    pub fn short(&self, at: Timestamp) -> String {
        self.format(at, "%H:%M")
    }

    /// The same with seconds.
    pub fn exact(&self, at: Timestamp) -> String {
        self.format(at, "%H:%M:%S")
    }

    /// The zone as its distance from UTC now: "UTC+08:00".
    pub fn zone(&self) -> String {
        self.now.moment().to_zoned(self.zone.clone()).strftime("UTC%:z").to_string()
    }

    fn format(&self, at: Timestamp, time: &str) -> String {
        let here = at.moment().to_zoned(self.zone.clone());
        let date = match here.date() {
            date if date == self.today => "",
            date if date.year() == self.today.year() => "%m-%d ",
            _ => "%Y-%m-%d ",
        };
        here.strftime(&format!("{date}{time}")).to_string()
    }
}

/// The time zone that `TZ` names, where the system has none of that name: times are shown in UTC then, which is no loss
/// where that is its name. A POSIX rule (`CST-8`) needs no database.
pub fn missing_zone() -> Option<String> {
    let named = std::env::var_os("TZ").filter(|name| !["", "UTC", "Etc/UTC", "GMT"].iter().any(|utc| name == utc))?;
    jiff::tz::TimeZone::try_system().is_err().then(|| named.to_string_lossy().into_owned())
}

impl Default for Timestamp {
    fn default() -> Self {
        Self::EPOCH
    }
}

impl From<i64> for Timestamp {
    fn from(milliseconds: i64) -> Self {
        Self::from_millis(milliseconds)
    }
}

impl From<Timestamp> for i64 {
    fn from(moment: Timestamp) -> Self {
        moment.as_millis()
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_millis(i64::try_from(since.as_millis()).unwrap_or(LAST))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, length: Duration) -> Self {
        Self::from_millis(self.as_millis().saturating_add(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, length: Duration) -> Self {
        Self::from_millis(self.as_millis().saturating_sub(i64::try_from(length.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// RFC 3339 in UTC with whole seconds: `2026-01-02T03:04:05Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}", self.moment())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What tells the time. Injected, so that tests can move it.
pub trait Clock: Send + Sync {
    /// The wall-clock time now.
    fn now(&self) -> Timestamp;

    /// The time since some moment that never changes, whatever the wall clock is set to.
    fn uptime(&self) -> Uptime;
}

/// How long the machine has been up; nobody can set this clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uptime {
    /// The time it was suspended included (`CLOCK_BOOTTIME`).
    pub with_sleep: Duration,
    /// The time it was suspended left out (`CLOCK_MONOTONIC`).
    pub awake: Duration,
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        #[expect(clippy::disallowed_methods, reason = "this is the one place")]
        Timestamp::from(SystemTime::now())
    }

    fn uptime(&self) -> Uptime {
        let read = |clock| {
            let time = rustix::time::clock_gettime(clock);
            // Both clocks count from zero at boot.
            Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
        };
        Uptime { with_sleep: read(rustix::time::ClockId::Boottime), awake: read(rustix::time::ClockId::Monotonic) }
    }
}

/// A clock that stands still until it is moved, for tests.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: Arc<AtomicI64>,
    awake: Arc<AtomicI64>,
    slept: Arc<AtomicI64>,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn new(start: Timestamp) -> Self {
        Self { now: Arc::new(AtomicI64::new(start.as_millis())), awake: Arc::default(), slept: Arc::default() }
    }

    /// Lets time pass: every clock goes on.
    pub fn pass(&self, length: Duration) {
        let milliseconds = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
        self.awake.fetch_add(milliseconds, Ordering::SeqCst);
        self.now.fetch_add(milliseconds, Ordering::SeqCst);
    }

    /// The machine sleeps: only the clock that counts that goes on, and the wall's.
    pub fn sleep(&self, length: Duration) {
        let milliseconds = i64::try_from(length.as_millis()).unwrap_or(i64::MAX);
        self.slept.fetch_add(milliseconds, Ordering::SeqCst);
        self.now.fetch_add(milliseconds, Ordering::SeqCst);
    }

    /// Somebody sets the wall clock, forward or back.
    pub fn set(&self, moment: Timestamp) {
        self.now.store(moment.as_millis(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    fn uptime(&self) -> Uptime {
        let read = |clock: &AtomicI64| Duration::from_millis(clock.load(Ordering::SeqCst).unsigned_abs());
        Uptime { with_sleep: read(&self.awake) + read(&self.slept), awake: read(&self.awake) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc3339_round_trips_and_takes_offsets() {
        let moment = Timestamp::parse_rfc3339("2026-01-02T03:04:05Z").unwrap();
        assert_eq!(moment.to_string(), "2026-01-02T03:04:05Z");
        assert_eq!(Timestamp::parse_rfc3339("2026-01-02T11:04:05+08:00"), Some(moment));
        assert_eq!(Timestamp::parse_http_date("Fri, 02 Jan 2026 03:04:05 GMT"), Some(moment));
        assert_eq!(Timestamp::parse_rfc3339("tomorrow"), None);
    }

    #[test]
    fn the_clock_says_no_more_of_the_date_than_is_needed() {
        let now = Timestamp::parse_rfc3339("2026-03-02T12:00:00Z").unwrap();
        let clock = LocalClock::new(now);
        let lengths = [Duration::ZERO, Duration::from_secs(3 * 86_400), Duration::from_secs(200 * 86_400)];
        let lengths = lengths.map(|age| clock.short(now - age).len());
        assert_eq!(lengths, ["14:05", "12-30 14:05", "2025-12-30 14:05"].map(str::len));
        assert_eq!(clock.exact(now).len(), "14:05:10".len());
        assert_eq!(clock.zone().len(), "UTC+08:00".len());
    }

    #[test]
    fn arithmetic_saturates_at_the_ends_of_time() {
        assert_eq!(Timestamp::MAX + Duration::MAX, Timestamp::MAX);
        assert_eq!(Timestamp::EPOCH - Duration::from_secs(1), Timestamp::EPOCH);
        assert_eq!(Timestamp::from_seconds(i64::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::EPOCH.since(Timestamp::MAX), Duration::ZERO);
        assert_eq!(Timestamp::MAX.to_string(), "9999-12-30T22:00:00Z");
    }
}
