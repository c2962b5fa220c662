//! The clients of a mesh: what comes to them, and what they do.

use super::{Event, Mesh, Step};
use crate::cluster::client::{ClientId, FromClient, ToClient};
use crate::cluster::link::{BackToClient, LinkId, ToNode};
use crate::cluster::peers;
use klamm_core::client::io::Address;
use klamm_core::id::ConnId;

impl Mesh {
    pub(super) fn come_back(&mut self, id: LinkId, what: BackToClient) -> Step {
        let Some(link) = self.links.get(&id) else { return Step::Event };
        let (now, until) = (self.timeline.now(), self.held_until(link, false));
        if until > now {
            let link = self.links.get_mut(&id).expect("looked at above");
            link.last_to_client = link.last_to_client.max(until);
            self.timeline.at(until, Event::ToClient { link: id, what });
            return Step::Event;
        }
        if matches!(what, BackToClient::Response { .. }) {
            self.recorder.keep(|recording| recording.comes(now, id, false));
        }
        let link = self.links.get_mut(&id).expect("looked at above");
        let (client, conn) = (link.client, link.local);
        if let Some(node) = peers::node_of(client) {
            match &what {
                BackToClient::Response { correlation, .. } => drop(link.awaited.remove(correlation)),
                BackToClient::Closed => drop(self.links.remove(&id)),
                BackToClient::Connected => {}
            }
            return self.back_to_node(node, conn, what);
        }
        let input = match what {
            BackToClient::Connected => ToClient::Connected { conn },
            BackToClient::Response { correlation, body } => {
                let Some(awaited) = link.awaited.remove(&correlation) else { return Step::Event };
                self.trace.note(now, client.0, "answer", &*body);
                ToClient::Answer { call: awaited.call, response: body }
            }
            BackToClient::Closed => {
                self.links.remove(&id);
                if let Some(guest) = self.guests.get_mut(&client) {
                    guest.links.remove(&conn);
                }
                ToClient::Closed { conn }
            }
        };
        self.tell(client, input);
        Step::Event
    }

    pub(super) fn client_tick(&mut self, id: ClientId, at: u64) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let now = self.timeline.now();
        if guest.paused_until > now {
            let at = guest.paused_until;
            guest.tick = Some(at);
            self.timeline.at(at, Event::ClientTick { client: id, at });
            return;
        }
        if guest.tick == Some(at) {
            guest.tick = None;
        }
        self.tell(id, ToClient::Tick);
    }

    fn tell(&mut self, id: ClientId, input: ToClient) {
        let now = self.client_now();
        let Some(guest) = self.guests.get_mut(&id) else { return };
        guest.actor.handle(now, input);
        while let Some(effect) = self.guests.get_mut(&id).and_then(|guest| guest.actor.poll()) {
            self.do_for_client(id, effect);
        }
        let Some(guest) = self.guests.get_mut(&id) else { return };
        if let Some(deadline) = guest.actor.deadline()
            && guest.tick.is_none_or(|at| at > deadline.0)
        {
            let at = deadline.0.max(self.timeline.now());
            guest.tick = Some(at);
            self.timeline.at(at, Event::ClientTick { client: id, at });
        }
    }

    fn do_for_client(&mut self, id: ClientId, effect: FromClient) {
        let now = self.timeline.now();
        match effect {
            FromClient::Connect { conn, to } => self.connect(id, conn, &to),
            FromClient::Close { conn } => {
                let Some(link) = self.guests.get_mut(&id).and_then(|guest| guest.links.remove(&conn)) else { return };
                self.send_to_node(link, ToNode::Close);
            }
            FromClient::Send { conn, call, version, request, answered } => {
                self.trace.note(now, id.0, "send", &*request);
                let Some(link) = self.guests.get(&id).and_then(|guest| guest.links.get(&conn)).copied() else { return };
                self.send(link, call, version, *request, answered);
            }
        }
    }

    fn connect(&mut self, client: ClientId, local: ConnId, to: &Address) {
        let id = self.make_link(client, local, to, None);
        self.guests.get_mut(&client).expect("it has just spoken").links.insert(local, id);
    }
}
