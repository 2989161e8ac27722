//! The states of a machine and which request is legal in which.

use chitin_proto::vmm::Request;

/// Where a machine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The process runs, sizes are not known.
    Blank,
    /// VM, RAM and devices exist; no vCPU has run.
    Attached,
    /// vCPUs run.
    Running,
    /// vCPUs are held.
    Paused,
}

impl State {
    /// Name for messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Blank => "blank",
            Self::Attached => "attached",
            Self::Running => "running",
            Self::Paused => "paused",
        }
    }

    /// The state after `request` has been carried out in `self`; `None` when it is not legal here.
    #[must_use]
    pub const fn after(self, request: &Request) -> Option<Self> {
        match (self, request) {
            (Self::Blank, Request::Configure(_)) => Some(Self::Attached),
            (Self::Blank, Request::AttachNetwork(_)) => Some(Self::Blank),
            (Self::Attached, Request::Start) | (Self::Paused, Request::Resume) => Some(Self::Running),
            (Self::Running, Request::Pause) => Some(Self::Paused),
            (_, Request::AttachShare(_) | Request::DetachShare { .. } | Request::Stop)
            | (
                Self::Attached | Self::Running | Self::Paused,
                Request::AttachStream { .. }
                | Request::DetachStream { .. }
                | Request::AttachBlock(_)
                | Request::DetachBlock { .. }
                | Request::Stats,
            ) => Some(self),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chitin_proto::vmm::{Card, RateLimit};

    #[test]
    fn only_the_drawn_edges_exist() {
        assert_eq!(State::Blank.after(&Request::Start), None);
        assert_eq!(State::Attached.after(&Request::Start), Some(State::Running));
        assert_eq!(State::Running.after(&Request::Start), None);
        assert_eq!(State::Running.after(&Request::Pause), Some(State::Paused));
        assert_eq!(State::Paused.after(&Request::Pause), None);
        assert_eq!(State::Paused.after(&Request::Resume), Some(State::Running));
        assert_eq!(State::Attached.after(&Request::Resume), None);
        assert_eq!(State::Paused.after(&Request::Stats), Some(State::Paused));
        let card = Request::AttachNetwork(Card { mac: [2; 6], mtu: 1500, limit: RateLimit::default() });
        assert_eq!(State::Blank.after(&card), Some(State::Blank));
        assert_eq!(State::Attached.after(&card), None);
    }
}
