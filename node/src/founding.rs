//! What a format says of the metadata quorum: who votes at first, and under which directory ids.
//!
//! Source: Kafka's `StorageTool` and `Formatter` (KIP-853). Pure: `identity` writes what is planned here.

use crate::config::Config;
use crate::identity::{Plan, Voter, new_uuid};
use crate::store::Identity;
use klamm_core::client::io::Address;
use klamm_core::config::{Endpoint, quorum};
use klamm_core::id::Uuid;
use klamm_core::time::Timestamp;
use klamm_core::wire::records::control::first_checkpoint;

/// What the operator said of the first controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Founders {
    /// Nothing.
    Unsaid,
    /// `--standalone`: this node alone.
    Standalone,
    /// `--initial-controllers`
    Listed(Vec<Voter>),
    /// `--no-initial-controllers`: there is a quorum, or will be; this node finds it, and may be made a voter later.
    Elsewhere,
}

/// Plans the format of a node of `cluster`. `known` is the directory id of its metadata directory if that is formatted already.
///
/// # Errors
/// One line: what the operator said does not fit the configuration.
pub fn plan(config: &Config, cluster: String, founders: Founders, known: Option<Uuid>, now: Timestamp) -> Result<Plan, String> {
    let (metadata_id, voters) = match voters(config, founders)? {
        Founders::Standalone => {
            let id = known.unwrap_or_else(new_uuid);
            (Some(id), vec![quorum::voter(config.node, id, &config.controllers())])
        }
        Founders::Listed(listed) => {
            let own = listed.iter().find(|voter| voter.node == config.node).map(|voter| voter.dir);
            let voters = if config.roles.controller { listed.iter().map(|voter| entry(config, voter)).collect() } else { Vec::new() };
            (own, voters)
        }
        Founders::Unsaid | Founders::Elsewhere => (None, Vec::new()),
    };
    let checkpoint = (!voters.is_empty()).then(|| first_checkpoint(voters, now));
    let owner = Identity { cluster, node: config.node };
    Ok(Plan { owner, metadata_dir: config.metadata_dir, metadata_id, checkpoint, ignore_formatted: false })
}

/// What holds where nothing was said; `Unsaid` is then a node that has no part in it.
fn voters(config: &Config, said: Founders) -> Result<Founders, String> {
    let fixed = config.given.get("controller.quorum.voters").is_some_and(|voters| !voters.is_empty());
    if fixed && said != Founders::Unsaid {
        return Err("`controller.quorum.voters` says who votes: take it out, or the option".to_owned());
    }
    if fixed {
        return Ok(Founders::Unsaid);
    }
    let is_controller = config.roles.controller;
    match said {
        Founders::Standalone if !is_controller => Err("--standalone is for a controller, which this node is not".to_owned()),
        Founders::Listed(listed) if is_controller && listed.iter().all(|voter| voter.node != config.node) => Err(format!(
            "--initial-controllers does not name this node, {}, which has the role `controller`; if it joins later, use --no-initial-controllers",
            config.node
        )),
        Founders::Elsewhere if is_controller && servers(config).is_empty() => {
            Err("--no-initial-controllers wants `controller.quorum.bootstrap.servers`: where this node finds the quorum".to_owned())
        }
        Founders::Unsaid if is_controller && is_alone(config) => Ok(Founders::Standalone),
        Founders::Unsaid if is_controller => Err("this controller is one of several: say who votes at first, by --initial-controllers \
             LIST (the same on all of them), --standalone (this one), or --no-initial-controllers (there is a quorum that it joins)"
            .to_owned()),
        said @ (Founders::Unsaid | Founders::Standalone | Founders::Listed(_) | Founders::Elsewhere) => Ok(said),
    }
}

/// Whether no key speaks of another controller.
#[must_use]
pub fn is_alone(config: &Config) -> bool {
    let own: Vec<Address> = config.controllers().into_iter().map(|e| Address { host: e.host, port: e.port }).collect();
    servers(config).iter().all(|server| own.contains(server))
}

/// Where `controller.quorum.bootstrap.servers` says that the quorum is.
#[must_use]
pub fn servers(config: &Config) -> Vec<Address> {
    quorum::addresses(config.given.get("controller.quorum.bootstrap.servers").unwrap_or_default()).expect("judged with the configuration")
}

fn entry(config: &Config, voter: &Voter) -> klamm_core::wire::records::raft::VotersRecordVoter {
    let names = config.given.get("controller.listener.names").unwrap_or("CONTROLLER");
    let name = names.split(',').next().unwrap_or_default().trim().to_ascii_uppercase();
    let Address { host, port } = voter.address.clone();
    quorum::voter(voter.node, voter.dir, &[Endpoint { name, host, port, security: 0 }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, given::Given};
    use crate::identity;
    use klamm_core::wire::records::control::quorum_of;

    const CONTROLLER: &str = "listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093";
    const LIST: &str = "1@127.0.0.1:9093:AAAAAAAAAAAAAAAAAAABAA,2@[::1]:9094:AAAAAAAAAAAAAAAAAAACAA";

    fn plan_of(options: &[&str], founders: Founders) -> Result<Plan, String> {
        let mut given = Given::default();
        options.iter().for_each(|option| given.option(option).expect("key=value"));
        let config = config::read(given).expect("a valid configuration").config;
        plan(&config, "c".to_owned(), founders, None, Timestamp(1))
    }

    fn listed() -> Founders {
        Founders::Listed(identity::voters(LIST).expect("well-formed"))
    }

    fn voters_of(plan: &Plan) -> Vec<(i32, Uuid, Vec<String>)> {
        let Some(checkpoint) = &plan.checkpoint else { return Vec::new() };
        let voters = quorum_of(checkpoint).expect("a snapshot").voters.into_iter();
        let address = |e: klamm_core::wire::records::raft::Endpoint| format!("{}://{}:{}", e.name, e.host, e.port);
        voters.map(|v| (v.voter_id.0, v.voter_directory_id, v.endpoints.into_iter().map(address).collect())).collect()
    }

    #[test]
    fn a_node_alone_votes_alone() {
        for options in [&[][..], &[CONTROLLER], &[CONTROLLER, "controller.quorum.bootstrap.servers=127.0.0.1:9093"]] {
            let plan = plan_of(options, Founders::Unsaid).expect("alone");
            let [(1, directory, _)] = voters_of(&plan)[..] else { panic!("{options:?}") };
            assert_eq!(Some(directory), plan.metadata_id);
        }
    }

    #[test]
    fn listed_controllers_are_the_voters_of_each_of_them() {
        let servers = "controller.quorum.bootstrap.servers=127.0.0.1:9093,[::1]:9094";
        let plan = plan_of(&[CONTROLLER, servers], listed()).expect("it is listed");
        assert_eq!(plan.metadata_id, Uuid::parse("AAAAAAAAAAAAAAAAAAABAA"));
        let endpoints: Vec<_> = voters_of(&plan).into_iter().map(|(id, _, endpoints)| (id, endpoints[0].clone())).collect();
        assert_eq!(endpoints, [(1, "CONTROLLER://127.0.0.1:9093".to_owned()), (2, "CONTROLLER://::1:9094".to_owned())]);
        let broker = plan_of(&["process.roles=broker", "node.id=7", servers], listed()).expect("a broker");
        assert_eq!((broker.metadata_id, broker.checkpoint), (None, None));
        let joins = plan_of(&[CONTROLLER, servers], Founders::Elsewhere).expect("it joins later");
        assert_eq!((joins.metadata_id, joins.checkpoint), (None, None));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let servers = "controller.quorum.bootstrap.servers=127.0.0.1:9093,b:9093";
        for (options, founders, why) in [
            (&[CONTROLLER, servers][..], Founders::Unsaid, "say who votes at first"),
            (&[CONTROLLER, servers, "node.id=3"], listed(), "does not name this node, 3"),
            (&[CONTROLLER], Founders::Elsewhere, "bootstrap.servers"),
            (&["process.roles=broker", servers], Founders::Standalone, "for a controller"),
            (&[CONTROLLER, "controller.quorum.voters=1@127.0.0.1:9093"], listed(), "`controller.quorum.voters` says"),
        ] {
            let got = plan_of(options, founders).expect_err("it does not fit");
            assert!(got.contains(why), "{got}");
        }
        let fixed = plan_of(&[CONTROLLER, "controller.quorum.voters=1@127.0.0.1:9093"], Founders::Unsaid).expect("Kafka's older way");
        assert_eq!(fixed.checkpoint, None);
    }
}
