//! Calls that fail: an ID that ends in a letter (`/in/1000007h`) says how the backend treats the
//! call that is made for it. The letter travels in the path, so that applications need not know of
//! it, but for refused connects: for these they connect to an address on which nobody listens,
//! `127.0.1.N`, where N is the last two digits of the ID.

use std::{
    fmt,
    io::{self, Read as _},
    net::TcpStream,
    str::FromStr,
    thread,
    time::Duration,
};

use super::backend::scrambled;

/// Longer than any application waits for a response (150 ms).
const HANG: Duration = Duration::from_secs(3);
/// How long the backend takes for an error.
const SLOW: Duration = Duration::from_millis(10);

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The backend closes the connection without a response.
    HangUp,
    /// It resets the connection.
    Reset,
    /// It does not answer until the application gives up.
    TimeOut,
    /// Nobody listens where the application connects to.
    Refused,
    /// It responds with 500, slowly, which is a response all the same.
    Error,
}

impl Failure {
    const ALL: [Self; 5] = [Self::HangUp, Self::Reset, Self::TimeOut, Self::Refused, Self::Error];

    /// The letter behind the ID.
    pub(super) const fn letter(self) -> char {
        match self {
            Self::HangUp => 'h',
            Self::Reset => 'r',
            Self::TimeOut => 't',
            Self::Refused => 'c',
            Self::Error => 'e',
        }
    }

    /// The failure that an ID asks for.
    pub(super) fn of_id(id: &str) -> Option<Self> {
        let failure = Self::ALL.into_iter().find(|failure| id.ends_with(failure.letter()))?;
        let number = id.strip_suffix(failure.letter())?;
        (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(failure)
    }

    /// The failure of a call: `/out/ID`, or the first of several, `/out/ID.1`.
    pub(super) fn of_call(target: &str) -> Option<Self> {
        let id = target.rsplit('/').next().unwrap_or_default();
        Self::of_id(id.strip_suffix(".1").unwrap_or(id))
    }

    /// Fails a call that was read from this connection. Returns whether that ends the connection.
    pub(super) fn ends(self, mut stream: &TcpStream) -> io::Result<bool> {
        match self {
            Self::HangUp | Self::Refused => Ok(true),
            Self::Reset => {
                socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO))?;
                Ok(true)
            }
            Self::TimeOut => {
                stream.set_read_timeout(Some(HANG))?;
                // Until the application closes the connection.
                let _gone = stream.read(&mut [0]);
                Ok(true)
            }
            Self::Error => {
                thread::sleep(SLOW);
                Ok(false)
            }
        }
    }
}

/// How many of an application's calls fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failing {
    /// This many in a hundred, in every way in turn.
    Percent(u64),
    /// In the middle third of the run all calls fail by a hang-up or a refusal, as with a
    /// dependency that is down and comes back.
    Down,
}

impl Failing {
    /// What becomes of the call of request `number` of `all`. `refuses`: the request can say where
    /// the application connects to.
    pub(super) fn failure(self, number: u64, all: u64, refuses: bool) -> Option<Failure> {
        let way = scrambled(number ^ 0x5eed);
        let failure = match self {
            Self::Percent(percent) if scrambled(number) % 100 < percent => {
                Failure::ALL[usize::try_from(way % 5).unwrap_or_default()]
            }
            Self::Down if (all / 3..all * 2 / 3).contains(&number) => {
                [Failure::HangUp, Failure::Refused][usize::try_from(way % 2).unwrap_or_default()]
            }
            Self::Percent(_) | Self::Down => return None,
        };
        Some(if failure == Failure::Refused && !refuses { Failure::HangUp } else { failure })
    }

    pub(super) const fn none(self) -> bool {
        matches!(self, Self::Percent(0))
    }
}

impl FromStr for Failing {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "down" {
            return Ok(Self::Down);
        }
        let percent = text.parse().ok().filter(|&percent| percent <= 100);
        percent.map(Self::Percent).ok_or_else(|| format!("{text} is neither a percentage nor `down`"))
    }
}

impl fmt::Display for Failing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => f.pad(&percent.to_string()),
            Self::Down => f.pad("down"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_calls_fail_as_asked_for_in_every_way() {
        let ways = |failing: Failing, refuses| {
            let mut ways = [0; 5];
            for failure in (0..3_000).filter_map(|number| failing.failure(number, 3_000, refuses)) {
                ways[Failure::ALL.iter().position(|way| *way == failure).unwrap()] += 1;
            }
            ways
        };
        assert_eq!(ways(Failing::Percent(0), true), [0; 5]);
        let fifth = ways(Failing::Percent(20), true);
        assert!(fifth.iter().all(|&count| (90..150).contains(&count)), "{fifth:?}");
        assert_eq!(ways(Failing::Percent(20), false)[3], 0);
        assert_eq!(ways(Failing::Down, true).iter().sum::<i32>(), 1_000);
    }

    #[test]
    fn only_the_first_of_several_calls_fails() {
        assert_eq!(Failure::of_call("/out/1000007h"), Some(Failure::HangUp));
        assert_eq!(Failure::of_call("/out/1000007r.1"), Some(Failure::Reset));
        assert_eq!(Failure::of_call("/out/1000007r.2"), None);
        assert_eq!(Failure::of_call("/out/1000007"), None);
        assert_eq!(Failure::of_call("/in/same"), None);
    }
}
