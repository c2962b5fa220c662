//! The store on the real disk keeps its contract.

use super::disk::{TempDir, block_on};
use klamm::fs::Disk;
use klamm::store::contract;

#[test]
fn the_contract_holds_on_the_real_disk() {
    let dir = TempDir::new("contract");
    block_on(contract::suite(|name| Disk::new(dir.0.join(name)).unwrap()));
}
