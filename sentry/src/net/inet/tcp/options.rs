//! Options and commands of TCP sockets (tcp(7)).

use super::super::base::Base;
use super::super::endpoint::Family;
use super::connect::AUTO_SEND;
use super::flow::Window;
use super::urgent::Line;
use super::wire::{Algorithm, Tuning};
use super::{Carrier, Link, Phase, Tcp, TcpState};
use crate::abi::Errno;
use crate::fs::stream::IoctlCx;
use crate::user::{UserAddr, UserPtr};
use alloc::vec;
use alloc::vec::Vec;
use chitin_core::hooks::now_ns;

const SOL_SOCKET: i32 = 1;
const SOL_TCP: i32 = 6;
const SO_ERROR: i32 = 4;
const SO_SNDBUF: i32 = 7;
const SO_RCVBUF: i32 = 8;

const FIONREAD: u32 = 0x541b;
const TIOCOUTQ: u32 = 0x5411;
const SIOCOUTQNSD: u32 = 0x894b;
const SIOCATMARK: u32 = 0x8905;

/// Segment size on loopback: the MTU less the headers and the time stamps.
const LOOPBACK_MSS: u32 = 65_483;
/// What is told before there is a connection.
const DEFAULT_MSS: i32 = 536;

/// What setsockopt(2) keeps at the level of TCP.
#[derive(Clone, Debug)]
pub(super) struct Options {
    no_delay: bool,
    cork: bool,
    quick_ack: bool,
    max_segment: i32,
    keep_idle: Option<i32>,
    keep_interval: Option<i32>,
    keep_count: Option<i32>,
    syn_count: Option<i32>,
    linger2: i32,
    pub(super) defer_seconds: i32,
    window_clamp: i32,
    congestion: &'static str,
    user_timeout: i32,
    not_sent_low_water: u32,
    queue_report: bool,
    /// `TCP_THIN_LINEAR_TIMEOUTS`.
    is_thin: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            no_delay: false,
            cork: false,
            quick_ack: true,
            max_segment: 0,
            keep_idle: None,
            keep_interval: None,
            keep_count: None,
            syn_count: None,
            linger2: 60,
            defer_seconds: 0,
            window_clamp: 0,
            congestion: "cubic",
            user_timeout: 0,
            not_sent_low_water: 0,
            queue_report: false,
            is_thin: false,
        }
    }
}

/// What options say of a connection over a wire.
pub(super) fn tuning(options: &Options, base: &Base) -> Tuning {
    const SECOND: u64 = 1_000_000_000;
    let default = |name: &str| i32::try_from(base.stack.sysctls.number(name)).unwrap_or(i32::MAX);
    let pick =
        |own: Option<i32>, name: &str| u64::try_from(own.unwrap_or_else(|| default(name))).unwrap_or(0);
    let settings = base.settings.lock().clone();
    let keep_alive = settings.keep_alive.then(|| {
        let probes = u32::try_from(pick(options.keep_count, "ipv4/tcp_keepalive_probes")).unwrap_or(9);
        let idle_ns = pick(options.keep_idle, "ipv4/tcp_keepalive_time") * SECOND;
        (idle_ns, pick(options.keep_interval, "ipv4/tcp_keepalive_intvl") * SECOND, probes)
    });
    let linger = match options.linger2 {
        ..0 => 0,
        0 | 60 => u64::try_from(default("ipv4/tcp_fin_timeout")).unwrap_or(60),
        seconds => u64::try_from(seconds).unwrap_or(60),
    };
    let byte = |value: i32, none: u8| u8::try_from(value).unwrap_or(none);
    let is_v6 = base.family == Family::V6;
    Tuning {
        no_delay: options.no_delay,
        cork: options.cork,
        quick_ack: options.quick_ack,
        keep_alive,
        user_timeout_ns: u64::try_from(options.user_timeout).unwrap_or(0) * 1_000_000,
        fin_timeout_ns: linger * SECOND,
        syn_retries: u32::try_from(pick(options.syn_count, "ipv4/tcp_syn_retries")).unwrap_or(6),
        max_segment: usize::try_from(options.max_segment).unwrap_or(0),
        window_clamp: usize::try_from(options.window_clamp).unwrap_or(0),
        algorithm: if options.congestion == "reno" { Algorithm::Reno } else { Algorithm::Cubic },
        ttl: byte(if is_v6 { settings.hops } else { settings.ttl }, 64),
        tos: byte(if is_v6 { settings.traffic_class } else { settings.tos } & 0xfc, 0),
        not_sent_low_water: usize::try_from(options.not_sent_low_water).unwrap_or(0),
    }
}

impl Link {
    /// Bytes of a segment, over a wire.
    fn mss(&self) -> i32 {
        match &self.carrier {
            Carrier::Near(_) => LOOPBACK_MSS.cast_signed(),
            Carrier::Wire(connection) => i32::try_from(connection.mss()).unwrap_or(i32::MAX),
        }
    }

    /// Bytes that were not sent yet.
    fn not_sent(&self) -> usize {
        match &self.carrier {
            Carrier::Near(near) => near.tx.figures().unsent,
            Carrier::Wire(connection) => connection.unsent().1,
        }
    }
}

impl Tcp {
    pub(super) fn get_option(&self, level: i32, name: i32) -> Result<Vec<u8>, Errno> {
        if level == SOL_TCP {
            return self.get_tcp(name);
        }
        let (listens, error) = {
            let mut state = self.state.lock();
            let error = if (level, name) == (SOL_SOCKET, SO_ERROR) { state.error.take() } else { None };
            (matches!(state.phase, Phase::Listening(_)), error)
        };
        let is_near = self.state.lock().link().is_some_and(|link| link.near().is_some());
        if (level, name) == (SOL_SOCKET, SO_SNDBUF) && is_near {
            let size = self.base.settings.lock().send;
            let bytes = if size.is_fixed { size.bytes } else { size.bytes.max(AUTO_SEND) };
            return Ok(i32::try_from(bytes).unwrap_or(i32::MAX).to_ne_bytes().to_vec());
        }
        if matches!((level, name), (0, 14)) || (level, name) == (41, 24) && self.base.family == Family::V6 {
            let remote = match &self.state.lock().phase {
                Phase::Open(link) => Some(link.tuple.1),
                _ => None,
            };
            return self.base.path_mtu(remote);
        }
        let mut facts = self.base.facts(listens, false, error);
        self.base.settings.lock().get(level, name, &mut facts)
    }

    fn get_tcp(&self, name: i32) -> Result<Vec<u8>, Errno> {
        let state = self.state.lock();
        let options = &state.options;
        let default = |name: &str| i32::try_from(self.base.stack.sysctls.number(name)).unwrap_or(i32::MAX);
        let value = match name {
            1 => i32::from(options.no_delay),
            2 => match (&state.phase, options.max_segment) {
                (Phase::Open(link), _) if link.near().is_none() => {
                    return Ok(link.mss().to_ne_bytes().to_vec());
                }
                (Phase::Open(_), 0) => LOOPBACK_MSS.cast_signed(),
                (_, 0) => DEFAULT_MSS,
                (_, segment) => segment,
            },
            3 => i32::from(options.cork),
            4 => options.keep_idle.unwrap_or_else(|| default("ipv4/tcp_keepalive_time")),
            5 => options.keep_interval.unwrap_or_else(|| default("ipv4/tcp_keepalive_intvl")),
            6 => options.keep_count.unwrap_or_else(|| default("ipv4/tcp_keepalive_probes")),
            7 => options.syn_count.unwrap_or_else(|| default("ipv4/tcp_syn_retries")),
            8 if options.linger2 == 0 => default("ipv4/tcp_fin_timeout"),
            8 => options.linger2,
            9 => options.defer_seconds,
            10 => options.window_clamp,
            11 => {
                drop(state);
                return Ok(self.info());
            }
            12 => i32::from(options.quick_ack),
            13 => {
                let mut name = options.congestion.as_bytes().to_vec();
                name.resize(16, 0);
                return Ok(name);
            }
            16 => i32::from(options.is_thin),
            17 | 19 | 23 | 30 | 34 | 37 => 0,
            18 => options.user_timeout,
            24 => 0,
            25 => options.not_sent_low_water.cast_signed(),
            36 => i32::from(options.queue_report),
            31 => return Ok(Vec::new()),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        Ok(value.to_ne_bytes().to_vec())
    }

    /// `struct tcp_info`.
    fn info(&self) -> Vec<u8> {
        let state = self.state.lock();
        let tcp_state = state.tcp_state();
        let link = state.link().cloned();
        let shaking = if let Phase::Handshake(link) = &state.phase { Some(link.clone()) } else { None };
        drop(state);
        if let Some(Carrier::Wire(connection)) = link.as_ref().or(shaking.as_ref()).map(|link| &link.carrier)
        {
            return connection.info();
        }
        let mut info = vec![0; 232];
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(to) = info.get_mut(at..at + bytes.len()) {
                to.copy_from_slice(bytes);
            }
        };
        put(0, &[tcp_state as u8]);
        put(8, &(if link.is_some() { 200_000u32 } else { 1_000_000 }).to_ne_bytes());
        put(76, &i32::MAX.to_ne_bytes());
        put(80, &10u32.to_ne_bytes());
        put(88, &3u32.to_ne_bytes());
        let (mss, rmss) = if link.is_some() { (32_768u32, 536u32) } else { (536, 0) };
        put(16, &mss.to_ne_bytes());
        put(20, &rmss.to_ne_bytes());
        if let Some(link) = link.as_ref().and_then(|link| link.near()) {
            let (tx, rx) = (link.tx.figures(), link.rx.figures());
            let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX).to_ne_bytes();
            // Time stamps, SACK and window scaling are what Linux agrees on with itself.
            put(5, &[7]);
            put(6, &[0x77]);
            put(60, &65_535u32.to_ne_bytes());
            put(64, &small(rx.window as u64));
            // A round trip takes no time: the least that can be told.
            let age = now_ns().saturating_sub(link.pair.opened_ns) / 1_000_000;
            put(44, &small(age));
            put(52, &small(age));
            put(68, &1u32.to_ne_bytes());
            put(72, &1u32.to_ne_bytes());
            put(84, &LOOPBACK_MSS.to_ne_bytes());
            put(96, &small(rx.window as u64));
            put(112, &u64::MAX.to_ne_bytes());
            put(120, &(tx.written - tx.unsent as u64).to_ne_bytes());
            put(128, &rx.written.to_ne_bytes());
            put(136, &small(tx.segments + 2));
            put(140, &small(rx.segments + 2));
            put(144, &small(tx.unsent as u64));
            put(148, &1u32.to_ne_bytes());
            put(152, &small(rx.segments));
            put(156, &small(tx.segments));
            put(200, &(tx.written - tx.unsent as u64).to_ne_bytes());
            put(228, &small(tx.window as u64));
        }
        info
    }

    pub(super) fn change_option(&self, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        if level == SOL_TCP {
            return self.set_tcp(name, value);
        }
        let (is_bound, link) = {
            let state = self.state.lock();
            (state.local.is_some(), state.link().cloned())
        };
        self.base.set_option(level, name, value, is_bound)?;
        if level == SOL_SOCKET {
            self.share_again();
            let (receive, send) = {
                let settings = self.base.settings.lock();
                (settings.receive, settings.send)
            };
            if let Some(link) = link.as_ref().filter(|_| matches!(name, SO_SNDBUF | SO_RCVBUF | 32 | 33)) {
                // A window that was offered is not taken back.
                let receives = |window: &mut Window| {
                    if receive.is_fixed {
                        window.most = receive.bytes / 2;
                        window.bytes = window.bytes.max(window.most);
                    }
                };
                let sends = |window: &mut Window| {
                    if send.is_fixed {
                        window.bytes = send.bytes / 2;
                    }
                };
                match &link.carrier {
                    Carrier::Near(near) => {
                        near.tx.resize(|_, window| sends(window));
                        near.rx.resize(|window, _| receives(window));
                    }
                    Carrier::Wire(connection) => connection.resize(|receive, send| {
                        receives(receive);
                        sends(send);
                        send.most = send.most.min(send.bytes.max(1));
                    }),
                }
            }
            self.tell_connection();
            self.base.events.wake_all();
        }
        Ok(())
    }

    /// Tells the table what others may do with the port now.
    fn share_again(&self) {
        let local = self.state.lock().local;
        if let Some(local) = local {
            let sharing = self.base.settings.lock().sharing(self.base.maker.creds.uid);
            let mut ports = self.base.stack.tcp.ports.lock();
            ports.change(local.at.port, &self.me, |owner| owner.sharing = sharing);
        }
    }

    fn set_tcp(&self, name: i32, value: &[u8]) -> Result<(), Errno> {
        if name == 13 {
            let wanted = value.split(|byte| *byte == 0).next().unwrap_or_default();
            let known = match wanted {
                b"cubic" => "cubic",
                b"reno" => "reno",
                b"" if value.is_empty() => return Err(Errno::EINVAL),
                _ => return Err(Errno::ENOENT),
            };
            self.state.lock().options.congestion = known;
            self.tell_connection();
            return Ok(());
        }
        let number = super::super::settings::number(value)?;
        let on = number != 0;
        let within = |low: i32, high: i32| {
            if (low..=high).contains(&number) { Ok(number) } else { Err(Errno::EINVAL) }
        };
        let mut state = self.state.lock();
        let listens = matches!(state.phase, Phase::Listening(_));
        let closed = state.tcp_state() == TcpState::Close;
        let options = &mut state.options;
        match name {
            1 => options.no_delay = on,
            2 if number == 0 => options.max_segment = 0,
            2 => options.max_segment = within(88, 32_767)?,
            3 => options.cork = on,
            4 => options.keep_idle = Some(within(1, 32_767)?),
            5 => options.keep_interval = Some(within(1, 32_767)?),
            6 => options.keep_count = Some(within(1, 127)?),
            7 => options.syn_count = Some(within(1, 127)?),
            8 => options.linger2 = if number < 0 { -1 } else { number.min(120) },
            9 => options.defer_seconds = deferral(number),
            10 if number == 0 && !closed => return Err(Errno::EINVAL),
            10 => options.window_clamp = if number == 0 { 0 } else { number.max(1152) },
            12 => options.quick_ack = on,
            16 => options.is_thin = within(0, 1)? != 0,
            17 => {
                within(0, 1)?;
            }
            // TCP_QUEUE_SEQ, TCP_REPAIR_OPTIONS.
            21 | 22 => return Err(Errno::EINVAL),
            18 => options.user_timeout = within(0, i32::MAX)?,
            // Fast open is off, as `tcp_fastopen` says.
            23 if number >= 0 && (closed || listens) => return Err(Errno::EOPNOTSUPP),
            23 => return Err(Errno::EINVAL),
            30 => return Err(Errno::EOPNOTSUPP),
            25 => options.not_sent_low_water = number.cast_unsigned(),
            36 => options.queue_report = within(0, 1)? != 0,
            14 | 19 | 20 | 29 => return Err(Errno::EPERM),
            31 => return Err(Errno::ENOENT),
            _ => return Err(Errno::ENOPROTOOPT),
        }
        drop(state);
        self.tell_connection();
        Ok(())
    }

    /// Tells a connection over a wire what options say now.
    fn tell_connection(&self) {
        let connection = {
            let state = self.state.lock();
            match state.link().map(|link| &link.carrier) {
                Some(Carrier::Wire(connection)) => connection.clone(),
                _ => return,
            }
        };
        connection.tune(self.tuning());
    }

    /// Bytes that can be received at once: up to urgent data, unless those come with the others.
    fn readable(&self, link: &Link) -> usize {
        let waiting = link.received().1;
        match link.mark() {
            Some(mark) if self.line() == Line::Apart => waiting.min(mark.ahead),
            _ => waiting,
        }
    }

    pub(super) fn control(&self, cx: &IoctlCx<'_>, command: u32, argument: u64) -> Result<usize, Errno> {
        let (link, listens) = {
            let state = self.state.lock();
            (state.link().cloned(), matches!(state.phase, Phase::Listening(_)))
        };
        let value = match command {
            FIONREAD | TIOCOUTQ | SIOCOUTQNSD if listens => return Err(Errno::EINVAL),
            FIONREAD => link.map_or(0, |link| self.readable(&link)),
            TIOCOUTQ => link.map_or(0, |link| link.unsent()),
            SIOCOUTQNSD => link.map_or(0, |link| link.not_sent()),
            SIOCATMARK => link.and_then(|link| link.mark()).map_or(0, |mark| usize::from(mark.ahead == 0)),
            _ => return self.base.stack.interface_ioctl(cx, self.base.maker.admin, command, argument),
        };
        let value = i32::try_from(value).unwrap_or(i32::MAX);
        cx.user.write(UserPtr::new(UserAddr::new(argument)), &value)?;
        Ok(0)
    }
}

/// The seconds that Linux makes of `TCP_DEFER_ACCEPT`: whole numbers of repeated SYNs.
fn deferral(seconds: i32) -> i32 {
    if seconds <= 0 {
        return 0;
    }
    let (mut total, mut step) = (1, 1);
    // The number of repetitions is kept in a byte.
    let mut count = 1;
    while total < seconds && count < 255 {
        count += 1;
        step = (step * 2).min(120);
        total += step;
    }
    total
}
