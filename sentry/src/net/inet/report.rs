//! What `/proc/net` tells (proc_net(5)): tables of sockets, interfaces, routes, and counters.

use super::Stack;
use super::diag::Entry;
use super::endpoint::{Endpoint, Family};
use super::ip;
use super::tcp::TcpState;
use crate::net::stack::NetStack;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::fmt::Write as _;
use core::net::IpAddr;
use core::sync::atomic::{AtomicU64, Ordering};

/// Events that are counted.
#[derive(Default)]
pub(super) struct Counts {
    tcp_connected: AtomicU64,
    tcp_refused: AtomicU64,
    tcp_resets: AtomicU64,
    udp_sent: AtomicU64,
    udp_received: AtomicU64,
    udp_dropped: AtomicU64,
    udp_no_port: AtomicU64,
    icmp_echos: AtomicU64,
}

macro_rules! counters {
    ($($name:ident => $field:ident),*) => {
        impl Counts {
            $(pub(super) fn $name(&self) {
                self.$field.fetch_add(1, Ordering::Relaxed);
            })*
        }
    };
}
counters!(
    tcp_connected => tcp_connected, tcp_refused => tcp_refused, tcp_reset => tcp_resets, udp_sent => udp_sent,
    udp_received => udp_received, udp_dropped => udp_dropped, udp_no_port => udp_no_port, icmp_echo => icmp_echos
);

/// An address as these files have it: words in the byte order of the host, in hexadecimal digits.
fn hex(family: Family, at: Endpoint) -> String {
    let octets: [u8; 16] = match at.ip {
        IpAddr::V4(ip) if family == Family::V4 => {
            return format!("{:08X}:{:04X}", u32::from_ne_bytes(ip.octets()), at.port);
        }
        IpAddr::V4(ip) if ip.is_unspecified() => [0; 16],
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    };
    let mut text = String::new();
    for word in octets.chunks_exact(4) {
        let word = word.try_into().map_or(0, u32::from_ne_bytes);
        let _ = write!(text, "{word:08X}");
    }
    let _ = write!(text, ":{:04X}", at.port);
    text
}

impl Stack {
    /// The text of a file below `/proc/net`.
    pub(super) fn report_file(&self, name: &str) -> Option<String> {
        Some(match name {
            "dev" => self.dev(),
            "tcp" => self.tcp_table(Family::V4),
            "tcp6" => self.tcp_table(Family::V6),
            "udp" => self.udp_table(Family::V4, ip::UDP),
            "udp6" => self.udp_table(Family::V6, ip::UDP),
            "raw" => self.raw_table(Family::V4, false),
            "raw6" => self.raw_table(Family::V6, false),
            "icmp" => self.raw_table(Family::V4, true),
            "icmp6" => self.raw_table(Family::V6, true),
            "udplite" => self.udp_table(Family::V4, ip::UDP_LITE),
            "udplite6" => self.udp_table(Family::V6, ip::UDP_LITE),
            "route" => self.route_table(),
            "if_inet6" => self.if_inet6(),
            "ipv6_route" => self.ipv6_route(),
            "arp" => self.arp(),
            "igmp" | "igmp6" | "dev_mcast" => String::new(),
            "packet" => self.packet_table(),
            "fib_trie" | "ptype" | "protocols" => return None,
            "netlink" => String::from(
                "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n",
            ),
            "sockstat" => self.sockstat(),
            "sockstat6" => self.sockstat6(),
            "snmp" => self.snmp(),
            "snmp6" => String::new(),
            "netstat" => String::from(
                "TcpExt: SyncookiesSent SyncookiesRecv SyncookiesFailed\nTcpExt: 0 0 0\nIpExt: InNoRoutes InTruncatedPkts\nIpExt: 0 0\n",
            ),
            _ => return None,
        })
    }

    fn packet_table(&self) -> String {
        let mut text = String::from("sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n");
        for socket in self.packets.all() {
            let (device, protocol, waiting, watches) = socket.describe();
            let _ = writeln!(
                text,
                "0000000000000000 {:<6} {:<4} {protocol:04x}   {device:<5} {} {waiting:<6} {:<6} {:<6}",
                3,
                socket.base.kind.number(),
                u8::from(watches),
                socket.base.maker.creds.uid,
                socket.base.ino(),
            );
        }
        text
    }

    fn dev(&self) -> String {
        let mut text = String::from(
            "Inter-|   Receive                                                |  Transmit\n face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n",
        );
        for link in self.interfaces() {
            let _ = writeln!(
                text,
                "{:>6}: {:>7} {:>7}    0 {:>4}    0     0          0 {:>9} {:>8} {:>7}    0 {:>4}    0     0       0          0",
                link.name,
                link.bytes,
                link.packets,
                link.dropped,
                link.multicast,
                link.out_bytes,
                link.out_packets,
                link.out_dropped,
            );
        }
        text
    }

    pub(super) fn tcp_entries(&self) -> alloc::vec::Vec<Entry> {
        let mut lines = alloc::vec::Vec::new();
        let mut seen = alloc::collections::BTreeSet::new();
        let connections = self.tcp.connections();
        let sockets =
            self.tcp.bound().into_iter().chain(connections.iter().map(|(_, socket)| socket.clone()));
        for socket in sockets.filter_map(|socket| socket.upgrade()) {
            let identity = Arc::as_ptr(&socket).addr();
            if !seen.insert(identity) {
                continue;
            }
            let (local, remote, state, send, receive) = socket.describe();
            if state == TcpState::Close {
                continue;
            }
            lines.push(Entry {
                family: family_number(socket.base.family),
                local,
                remote,
                state: state as u8,
                send,
                receive,
                user: socket.base.maker.creds.uid,
                ino: socket.base.ino(),
                timer: (0, 0),
                drops: 0,
            });
        }
        for connection in self.tcp.wire.all() {
            // Connections that go on without a socket.
            let Some((state, send)) = connection.as_orphan() else { continue };
            let (local, remote) = connection.tuple();
            let family = if local.ip.is_ipv4() { 2 } else { 10 };
            let (state, timer) = (state as u8, (1, 0));
            lines.push(Entry {
                family,
                local,
                remote,
                state,
                send,
                receive: 0,
                user: 0,
                ino: 0,
                timer,
                drops: 0,
            });
        }
        for (local, remote, left_ns) in self.tcp.ended() {
            let family = if local.ip.is_ipv4() { 2 } else { 10 };
            let timer = (3, left_ns / 10_000_000);
            let state = TcpState::TimeWait as u8;
            lines.push(Entry {
                family,
                local,
                remote,
                state,
                send: 0,
                receive: 0,
                user: 0,
                ino: 0,
                timer,
                drops: 0,
            });
        }
        lines.sort_by_key(|line: &Entry| (line.state != 10, line.local.port, line.remote.port));
        lines
    }

    fn tcp_table(&self, family: Family) -> String {
        let mut text = header(family, false);
        let lines = self.tcp_entries();
        for (index, line) in lines.iter().filter(|line| line.is_of(family)).enumerate() {
            let shown = Entry { send: if line.state == 10 { 0 } else { line.send }, ..*line };
            let row = row(family, index, &shown);
            let end =
                if line.state == 6 { " 3 0000000000000000" } else { " 1 0000000000000000 20 0 0 10 -1" };
            let row = format!("{row}{end}");
            let _ = writeln!(text, "{row:<149}");
        }
        text
    }

    pub(super) fn udp_entries(&self, protocol: u8) -> alloc::vec::Vec<Entry> {
        let sockets = self.datagram_ports(protocol).lock().owners();
        let mut lines = alloc::vec::Vec::new();
        for socket in sockets.into_iter().filter_map(|socket| socket.upgrade()) {
            let (local, remote, connected) = socket.describe();
            let (receive, drops) = socket.inbox.figures();
            let state = if connected { 1 } else { 7 };
            let (user, ino) = (socket.base.maker.creds.uid, socket.base.ino());
            let family = family_number(socket.base.family);
            lines.push(Entry {
                family,
                local,
                remote,
                state,
                send: 0,
                receive,
                user,
                ino,
                timer: (0, 0),
                drops,
            });
        }
        lines.sort_by_key(|line: &Entry| line.local.port);
        lines
    }

    fn udp_table(&self, family: Family, protocol: u8) -> String {
        let lines = self.udp_entries(protocol);
        datagrams(family, lines.iter().filter(|line| line.is_of(family)))
    }

    fn raw_table(&self, family: Family, ping: bool) -> String {
        let sockets: alloc::vec::Vec<_> =
            self.raw.lock().iter().filter_map(|socket| socket.upgrade()).collect();
        let lines: alloc::vec::Vec<Entry> = sockets
            .iter()
            .filter(|socket| socket.base.family == family)
            .filter(|socket| (socket.base.kind == crate::net::SocketType::Datagram) == ping)
            .map(|socket| {
                let (local, remote, receive, drops) = socket.describe();
                let (user, ino) = (socket.base.maker.creds.uid, socket.base.ino());
                let family = family_number(family);
                Entry { family, local, remote, state: 7, send: 0, receive, user, ino, timer: (0, 0), drops }
            })
            .collect();
        datagrams(family, lines.iter())
    }

    fn if_inet6(&self) -> String {
        let mut text = String::new();
        for link in self.interfaces() {
            for own in &link.addresses {
                if let IpAddr::V6(ip) = own.ip {
                    let scope = match (ip.is_loopback(), ip.is_unicast_link_local()) {
                        (true, _) => 0x10,
                        (false, true) => 0x20,
                        (false, false) => 0,
                    };
                    let _ = writeln!(
                        text,
                        "{:032x} {:02x} {:02x} {scope:02x} 80 {:>8}",
                        ip.to_bits(),
                        link.index,
                        own.prefix,
                        link.name
                    );
                }
            }
        }
        text
    }

    fn link_name(&self, index: u32) -> String {
        self.interfaces()
            .into_iter()
            .find(|link| link.index == index)
            .map_or_else(String::new, |link| link.name)
    }

    fn route_table(&self) -> String {
        let heading = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT";
        let routes = self.routes();
        if routes.is_empty() {
            // There is no table before something has an address.
            return String::new();
        }
        let mut text = format!("{heading:<127}\n");
        for route in routes.iter().filter(|route| route.table == 254) {
            let IpAddr::V4(ip) = route.to.ip else { continue };
            let word = |ip: core::net::Ipv4Addr| u32::from_ne_bytes(ip.octets());
            let gateway = match route.gateway {
                Some(IpAddr::V4(gateway)) => word(gateway),
                _ => 0,
            };
            // RTF_UP, RTF_GATEWAY, RTF_HOST.
            let flags = 1 | u32::from(route.gateway.is_some()) << 1 | u32::from(route.to.prefix == 32) << 2;
            let row = format!(
                "{}\t{:08X}\t{gateway:08X}\t{flags:04X}\t0\t0\t{}\t{:08X}\t0\t0\t0",
                self.link_name(route.device),
                word(ip),
                route.metric,
                word(route.to.mask4()),
            );
            let _ = writeln!(text, "{row:<127}");
        }
        text
    }

    fn arp(&self) -> String {
        let mut text =
            String::from("IP address       HW type     Flags       HW address            Mask     Device\n");
        for known in self.neighbours().iter().filter(|known| known.ip.is_ipv4()) {
            // ATF_COM, ATF_PERM.
            let flags = match known.state {
                1 => 0,
                0x80 => 6,
                _ => 2,
            };
            let [a, b, c, d, e, f] = known.mac;
            let _ = writeln!(
                text,
                "{:<16} 0x1         {:#x}         {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}     *        {}",
                format!("{}", known.ip),
                flags,
                self.link_name(known.device)
            );
        }
        text
    }

    fn ipv6_route(&self) -> String {
        let mut text = String::new();
        for route in self.routes() {
            if let IpAddr::V6(ip) = route.to.ip {
                let gateway = match route.gateway {
                    Some(IpAddr::V6(gateway)) => gateway.to_bits(),
                    _ => 0,
                };
                // RTF_UP, RTF_GATEWAY; RTF_LOCAL, RTF_NONEXTHOP.
                let flags = if route.kind == 2 { 0x8020_0001 } else { 1 | u32::from(gateway != 0) << 1 };
                let _ = writeln!(
                    text,
                    "{:032x} {:02x} {:032x} 00 {gateway:032x} {:08x} 00000001 00000000 {flags:08x} {:>8}",
                    ip.to_bits(),
                    route.to.prefix,
                    0,
                    route.metric,
                    self.link_name(route.device)
                );
            }
        }
        text
    }

    fn counts_of(&self, family: Family) -> (usize, usize, usize) {
        let tcp = self.tcp_entries().iter().filter(|line| line.is_of(family) && line.state != 6).count();
        let udp = self.udp_entries(ip::UDP).iter().filter(|line| line.is_of(family)).count();
        let raw = self.raw.lock().len();
        (tcp, udp, raw)
    }

    fn sockstat(&self) -> String {
        let (tcp, udp, raw) = self.counts_of(Family::V4);
        let waiting = self.tcp.ended().len();
        format!(
            "sockets: used {}\nTCP: inuse {tcp} orphan 0 tw {waiting} alloc {tcp} mem 0\nUDP: inuse {udp} mem 0\nUDPLITE: inuse 0\nRAW: inuse {raw}\nFRAG: inuse 0 memory 0\n",
            tcp + udp + raw
        )
    }

    fn sockstat6(&self) -> String {
        let (tcp, udp, _) = self.counts_of(Family::V6);
        format!(
            "TCP6: inuse {tcp}\nUDP6: inuse {udp}\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n"
        )
    }

    fn snmp(&self) -> String {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        let packets = self.loopback.describe().packets;
        let open = self.tcp_entries().iter().filter(|line| matches!(line.state, 1 | 8)).count();
        let (connected, refused) = (get(&counts.tcp_connected), get(&counts.tcp_refused));
        format!(
            "Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails FragCreates\n\
             Ip: 2 64 {packets} 0 0 0 0 0 {packets} {packets} 0 0 0 0 0 0 0 0 0\n\
             Icmp: InMsgs InErrors InCsumErrors InDestUnreachs InTimeExcds InParmProbs InSrcQuenchs InRedirects InEchos InEchoReps InTimestamps InTimestampReps InAddrMasks InAddrMaskReps OutMsgs OutErrors OutDestUnreachs OutTimeExcds OutParmProbs OutSrcQuenchs OutRedirects OutEchos OutEchoReps OutTimestamps OutTimestampReps OutAddrMasks OutAddrMaskReps\n\
             Icmp: {messages} 0 0 {no_port} 0 0 0 0 {echos} {echos} 0 0 0 0 {messages} 0 {no_port} 0 0 0 0 0 {echos} 0 0 0 0\n\
             Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs OutSegs RetransSegs InErrs OutRsts InCsumErrors\n\
             Tcp: 1 200 120000 -1 {active} {connected} {refused} {resets} {open} {packets} {packets} 0 0 {out_resets} 0\n\
             Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors\n\
             Udp: {received} {no_port} {dropped} {sent} {dropped} 0 0 0 0\n",
            messages = get(&counts.icmp_echos) * 2 + get(&counts.udp_no_port),
            no_port = get(&counts.udp_no_port),
            echos = get(&counts.icmp_echos),
            active = connected + refused,
            resets = get(&counts.tcp_resets),
            out_resets = get(&counts.tcp_resets) + refused,
            received = get(&counts.udp_received),
            dropped = get(&counts.udp_dropped),
            sent = get(&counts.udp_sent),
        )
    }
}

fn family_number(family: Family) -> u8 {
    if family == Family::V4 { 2 } else { 10 }
}

fn header(family: Family, datagram: bool) -> String {
    let text = match (family, datagram) {
        (Family::V4, false) => {
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
        }
        (Family::V4, true) => {
            "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops"
        }
        (Family::V6, false) => {
            return String::from(
                "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n",
            );
        }
        (Family::V6, true) => {
            return String::from(
                "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n",
            );
        }
    };
    let width = if datagram { 127 } else { 149 };
    format!("{text:<width$}\n")
}

fn row(family: Family, index: usize, line: &Entry) -> String {
    format!(
        "{index:4}: {} {} {:02X} {:08X}:{:08X} {:02X}:{:08X} {:08X} {:5} {:8} {}",
        hex(family, line.local),
        hex(family, line.remote),
        line.state,
        line.send,
        line.receive,
        line.timer.0,
        line.timer.1,
        0,
        line.user,
        0,
        line.ino
    )
}

fn datagrams<'a>(family: Family, lines: impl Iterator<Item = &'a Entry>) -> String {
    let mut text = header(family, true);
    for (index, line) in lines.enumerate() {
        let row = format!(" {} 2 0000000000000000 {}", row(family, index, line), line.drops);
        let _ = writeln!(text, "{row:<127}");
    }
    text
}
