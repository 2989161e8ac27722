//! Serving the control socket: requests of the shim ([`chitin_proto::vmm`]) in, replies and events out.
//!
//! When the socket closes, the VMM ends, and with it the VM.

pub mod channel;

use crate::fileserver::shares::Shares;
use crate::jail::seccomp::Mode;
use crate::lifecycle::State;
use crate::machine::image::Image;
use crate::sandbox::poll::{Poll, Ready, Source};
use crate::sandbox::{Happening, NewCard, Sandbox};
use crate::virtio::net::tap::Tap;
use channel::{Channel, ChannelError, Peer};
use chitin_proto::frame::Kind;
use chitin_proto::net::MAX_CARDS;
use chitin_proto::vmm::{Card, EndReason, Event, Reply, Request};
use rustix::event::epoll::EventFlags;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// How long the shim may take to read the last frames.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Least bytes of an IP packet that a link must carry (RFC 791).
const MIN_MTU: u16 = 68;

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Go,
    End,
}

struct Server {
    channel: Channel,
    poll: Arc<Poll>,
    shares: Arc<Shares>,
    state: State,
    cards: Vec<NewCard>,
    sandbox: Option<Sandbox>,
    watching_out: bool,
    mode: Mode,
}

/// Serves `socket` until it closes, the VM ends, or the shim says stop.
///
/// # Errors
/// [`ChannelError`] when the shim does not speak the protocol.
pub fn serve(socket: OwnedFd, mode: Mode) -> Result<(), ChannelError> {
    let mut server = Server {
        channel: Channel::new(socket),
        poll: Arc::new(Poll::new()?),
        shares: Arc::new(Shares::default()),
        state: State::Blank,
        cards: Vec::new(),
        sandbox: None,
        watching_out: false,
        mode,
    };
    server.poll.add(&server.channel, Source::Control, EventFlags::IN)?;
    loop {
        for ready in server.poll.wait(None)? {
            if server.react(ready)? == Flow::End {
                server.channel.flush(LAST_WORDS);
                // The process ends now. Taking the machine apart thread by thread would only take time, or for ever if
                // the file server hangs in a file system.
                std::mem::forget(server);
                return Ok(());
            }
        }
        server.watch_out()?;
    }
}

impl Server {
    fn react(&mut self, ready: Ready) -> Result<Flow, ChannelError> {
        if ready.source == Source::Control {
            return self.control(ready.flags);
        }
        let mut flow = Flow::Go;
        let (sandbox, channel) = (&mut self.sandbox, &mut self.channel);
        if let Some(sandbox) = sandbox {
            sandbox.react(ready, &mut |happening| match happening {
                Happening::Log(line) => channel.tell(&Event::Log(line)),
                Happening::StreamClosed(port) => channel.tell(&Event::StreamClosed { port }),
                Happening::Ended(reason) => {
                    channel.tell(&Event::Ended(shortened(reason)));
                    flow = Flow::End;
                }
            });
        }
        Ok(flow)
    }

    fn control(&mut self, flags: EventFlags) -> Result<Flow, ChannelError> {
        if flags.contains(EventFlags::OUT) {
            self.channel.send();
        }
        if !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            return Ok(Flow::Go);
        }
        let peer = self.channel.receive()?;
        while let Some(frame) = self.channel.next_frame()? {
            if frame.kind != Kind::Request {
                continue;
            }
            let request: Request = frame.decode()?;
            let reply = self.serve(&request).unwrap_or_else(Reply::Failed);
            self.channel.reply(frame.id, &reply);
            if request == Request::Stop {
                return Ok(Flow::End);
            }
        }
        Ok(if peer == Peer::Closed { Flow::End } else { Flow::Go })
    }

    /// Carries out one request; an error is the text for the shim.
    fn serve(&mut self, request: &Request) -> Result<Reply, String> {
        // Taken even when the request is refused: it must not be mistaken for the next one's.
        let descriptor = match request {
            Request::AttachShare(_)
            | Request::AttachStream { .. }
            | Request::AttachNetwork(_)
            | Request::AttachBlock(_) => {
                Some(self.channel.take_descriptor().ok_or("the request came without its descriptor")?)
            }
            _ => None,
        };
        let Some(next) = self.state.after(request) else {
            return Err(format!(
                "{} is not possible while the machine is {}",
                name(request),
                self.state.name()
            ));
        };
        let reply = match (request, descriptor, &mut self.sandbox) {
            (Request::Configure(config), ..) => {
                let image = Image::embedded().map_err(text)?;
                let (shares, cards) = (Arc::clone(&self.shares), std::mem::take(&mut self.cards));
                let sandbox = Sandbox::new(config, &image, shares, cards, &self.poll, self.mode);
                self.sandbox = Some(sandbox.map_err(text)?);
                Reply::Done
            }
            (Request::AttachNetwork(card), Some(descriptor), _) => {
                self.attach_card(*card, descriptor)?;
                Reply::Done
            }
            (Request::AttachShare(share), Some(descriptor), _) => {
                self.shares.attach(share, descriptor).map_err(text)?;
                Reply::Done
            }
            (Request::DetachShare { name }, ..) => {
                self.shares.detach(name).map_err(text)?;
                Reply::Done
            }
            (Request::AttachBlock(block), Some(descriptor), Some(sandbox)) => {
                sandbox.attach_block(block, descriptor).map_err(text)?;
                Reply::Done
            }
            (Request::DetachBlock { slot }, _, Some(sandbox)) => {
                sandbox.detach_block(*slot).map_err(text)?;
                Reply::Done
            }
            (Request::AttachStream { port, direction }, Some(descriptor), Some(sandbox)) => {
                sandbox.attach_stream(*port, *direction, descriptor).map_err(text)?;
                Reply::Done
            }
            (Request::DetachStream { port }, _, Some(sandbox)) => {
                sandbox.detach_stream(*port);
                Reply::Done
            }
            (Request::Start, _, Some(sandbox)) => {
                sandbox.start().map_err(text)?;
                Reply::Done
            }
            (Request::Pause, _, Some(sandbox)) => {
                if !sandbox.pause() {
                    sandbox.resume();
                    return Err("a vCPU does not stop".to_owned());
                }
                Reply::Done
            }
            (Request::Resume, _, Some(sandbox)) => {
                sandbox.resume();
                Reply::Done
            }
            (Request::Stats, _, Some(sandbox)) => Reply::Stats(sandbox.stats()),
            (Request::Stop, ..) => Reply::Done,
            _ => return Err(format!("{} needs a machine", name(request))),
        };
        self.state = next;
        Ok(reply)
    }

    fn attach_card(&mut self, card: Card, descriptor: OwnedFd) -> Result<(), String> {
        if self.cards.len() >= MAX_CARDS {
            return Err(format!("a machine has at most {MAX_CARDS} network cards"));
        }
        if card.mac[0] & 1 != 0 || card.mac == [0; 6] {
            return Err(format!("{:02x?} is no hardware address of a network card", card.mac));
        }
        if card.mtu < MIN_MTU {
            return Err(format!("an MTU of {} is less than {MIN_MTU}", card.mtu));
        }
        self.cards.push((card, Tap::new(descriptor).map_err(text)?));
        Ok(())
    }

    /// Watches for room in the socket while something waits.
    fn watch_out(&mut self) -> Result<(), ChannelError> {
        let wanted = self.channel.is_waiting();
        if wanted != self.watching_out {
            let flags = if wanted { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            self.poll.modify(&self.channel, Source::Control, flags)?;
            self.watching_out = wanted;
        }
        Ok(())
    }
}

fn text(error: impl std::error::Error) -> String {
    error.to_string()
}

const fn name(request: &Request) -> &'static str {
    match request {
        Request::Configure(_) => "Configure",
        Request::AttachNetwork(_) => "AttachNetwork",
        Request::AttachShare(_) => "AttachShare",
        Request::DetachShare { .. } => "DetachShare",
        Request::AttachBlock(_) => "AttachBlock",
        Request::DetachBlock { .. } => "DetachBlock",
        Request::AttachStream { .. } => "AttachStream",
        Request::DetachStream { .. } => "DetachStream",
        Request::Start => "Start",
        Request::Pause => "Pause",
        Request::Resume => "Resume",
        Request::Stats => "Stats",
        Request::Stop => "Stop",
    }
}

/// A reason whose text surely fits a frame.
fn shortened(reason: EndReason) -> EndReason {
    const MOST: usize = 64 << 10;
    let cut = |text: String| match text.char_indices().rev().nth(MOST) {
        Some((at, _)) => text.get(at..).unwrap_or_default().to_owned(),
        None => text,
    };
    match reason {
        EndReason::Panic(text) => EndReason::Panic(cut(text)),
        EndReason::Crash(text) => EndReason::Crash(cut(text)),
        EndReason::Violation(text) => EndReason::Violation(cut(text)),
        other => other,
    }
}
