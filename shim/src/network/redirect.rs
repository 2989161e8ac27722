//! Sending what arrives at one interface out of another (tc-mirred(8)).

use super::netlink::Netlink;
use super::scan;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionMirror, TcActionMirrorOption, TcActionOption, TcActionType,
    TcAttribute, TcFilterMatchAll, TcFilterMatchAllOption, TcHandle, TcHeader, TcMessage, TcMirror,
    TcMirrorActionType, TcOption,
};
use std::io;

/// `TC_H_INGRESS`.
const INGRESS: u32 = 0xffff_fff1;
/// Handle of an ingress qdisc.
const INGRESS_HANDLE: u32 = 0xffff_0000;
/// Priority 1, all protocols (`ETH_P_ALL` in network order).
const FIRST_OF_ALL: u32 = 1 << 16 | 0x0300;

fn header(interface: u32, handle: u32, parent: u32) -> TcHeader {
    TcHeader {
        index: interface.cast_signed(),
        handle: TcHandle::from(handle),
        parent: TcHandle::from(parent),
        ..TcHeader::default()
    }
}

fn named(step: &'static str) -> impl Fn(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{step}: {error}"))
}

/// Redirects everything that arrives at `from` to `to`.
pub(super) fn add(netlink: &mut Netlink, from: u32, to: u32) -> io::Result<()> {
    let ingress = || {
        TcMessage::from_parts(
            header(from, INGRESS_HANDLE, INGRESS),
            vec![TcAttribute::Kind("ingress".to_owned())],
        )
    };
    let make = |netlink: &mut Netlink| {
        netlink.change(RouteNetlinkMessage::NewQueueDiscipline(ingress()), NLM_F_CREATE | NLM_F_EXCL)
    };
    match make(netlink) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
            // Nobody's: left by a sandbox that could not clean up.
            netlink
                .change(RouteNetlinkMessage::DelQueueDiscipline(ingress()), 0)
                .and_then(|()| make(netlink))
                .map_err(named("replace the ingress qdisc"))?;
        }
        other => other.map_err(named("add an ingress qdisc"))?,
    }
    let mut mirror = TcMirror::default();
    mirror.generic.action = TcActionType::Stolen;
    mirror.eaction = TcMirrorActionType::EgressRedir;
    mirror.ifindex = to;
    let mut action = TcAction::default();
    action.attributes = vec![
        TcActionAttribute::Kind(TcActionMirror::KIND.to_owned()),
        TcActionAttribute::Options(vec![TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror))]),
    ];
    let filter = TcMessage::from_parts(
        TcHeader { info: FIRST_OF_ALL, ..header(from, 0, INGRESS_HANDLE) },
        vec![
            TcAttribute::Kind(TcFilterMatchAll::KIND.to_owned()),
            TcAttribute::Options(vec![TcOption::MatchAll(TcFilterMatchAllOption::Action(vec![action]))]),
        ],
    );
    netlink
        .change(RouteNetlinkMessage::NewTrafficFilter(filter), NLM_F_CREATE | NLM_F_EXCL)
        .map_err(named("add a matchall filter with a mirred action"))
}

/// Takes the redirection of the interface called `name` away, if both are there.
pub(super) fn remove(netlink: &mut Netlink, name: &str) -> io::Result<()> {
    let Some(index) = scan::index_of(netlink, name)? else { return Ok(()) };
    let attributes = vec![TcAttribute::Kind("ingress".to_owned())];
    let ingress = TcMessage::from_parts(header(index, INGRESS_HANDLE, INGRESS), attributes);
    match netlink.change(RouteNetlinkMessage::DelQueueDiscipline(ingress), 0) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL | libc::ENODEV)) => {
            Ok(())
        }
        other => other,
    }
}
