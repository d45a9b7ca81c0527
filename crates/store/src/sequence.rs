//! Who may write to a shard, and which batch comes next: the rules of claims that every engine keeps the same way.
//!
//! Plain bookkeeping in memory. Engines make epochs durable themselves and ask the [`Ledger`] before each batch.

use std::collections::BTreeMap;

use crate::{Claim, Error, ShardId};

/// The current owner of each shard.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    owners: BTreeMap<ShardId, Owner>,
}

/// The newest claim of a shard and how far it got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owner {
    epoch: u64,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Progress {
    /// The epoch was made before a restart: nobody of this process owns it.
    #[default]
    Unowned,
    Next(u64),
    Dead,
}

impl Ledger {
    /// The state after a restart: epochs are remembered, owners are not.
    pub(crate) fn from_epochs(epochs: impl IntoIterator<Item = (ShardId, u64)>) -> Ledger {
        let unowned = |(shard, epoch)| (shard, Owner { epoch, progress: Progress::Unowned });
        Ledger { owners: epochs.into_iter().map(unowned).collect() }
    }

    /// Every shard that was ever claimed.
    pub(crate) fn epochs(&self) -> impl Iterator<Item = (ShardId, u64)> {
        self.owners.iter().map(|(shard, owner)| (*shard, owner.epoch))
    }

    /// Deposes the shard's owner for a new one.
    pub(crate) fn claim(&mut self, shard: ShardId) -> Claim {
        let owner = self.owners.entry(shard).or_default();
        *owner = Owner { epoch: owner.epoch + 1, progress: Progress::Next(1) };
        Claim { shard, epoch: owner.epoch }
    }

    /// Lets batch `seq` of the claim pass, or tells why not; a claim that skips a number is dead from then on.
    pub(crate) fn admit(&mut self, claim: Claim, seq: u64) -> Result<(), Error> {
        let owner = self.owners.get_mut(&claim.shard).ok_or(Error::Fenced)?;
        if owner.epoch != claim.epoch {
            return Err(Error::Fenced);
        }
        match owner.progress {
            Progress::Unowned => Err(Error::Fenced),
            Progress::Dead => Err(Error::Rejected("an earlier batch of this claim failed".to_owned())),
            Progress::Next(next) if next == seq => {
                owner.progress = Progress::Next(seq + 1);
                Ok(())
            }
            Progress::Next(next) => {
                owner.progress = Progress::Dead;
                Err(Error::Rejected(format!("batch {next} of this claim has to come first, not {seq}")))
            }
        }
    }

    /// Ends the claim, if it is still the shard's newest.
    pub(crate) fn kill(&mut self, claim: Claim) {
        if let Some(owner) = self.owners.get_mut(&claim.shard)
            && owner.epoch == claim.epoch
        {
            owner.progress = Progress::Dead;
        }
    }

    /// What is to be handed to [`Ledger::restore`] to undo what happens to the shard from here on.
    pub(crate) fn owner(&self, shard: ShardId) -> Owner {
        self.owners.get(&shard).copied().unwrap_or_default()
    }

    /// Goes back to an earlier state of the shard, because the transaction it belongs to was rolled back.
    pub(crate) fn restore(&mut self, shard: ShardId, owner: Owner) {
        self.owners.insert(shard, owner);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: ShardId = ShardId(7);

    #[test]
    fn a_gap_kills_the_claim() {
        let mut ledger = Ledger::default();
        let claim = ledger.claim(SHARD);
        assert_eq!(ledger.admit(claim, 1), Ok(()));
        assert!(matches!(ledger.admit(claim, 3), Err(Error::Rejected(_))));
        assert!(matches!(ledger.admit(claim, 2), Err(Error::Rejected(_))), "the claim is dead");
        let next = ledger.claim(SHARD);
        assert_eq!(ledger.admit(claim, 2), Err(Error::Fenced));
        assert_eq!(ledger.admit(next, 1), Ok(()));
    }

    #[test]
    fn killing_an_old_claim_leaves_the_new_one_alone() {
        let mut ledger = Ledger::default();
        let old = ledger.claim(SHARD);
        let new = ledger.claim(SHARD);
        ledger.kill(old);
        assert_eq!(ledger.admit(new, 1), Ok(()));
    }

    #[test]
    fn after_a_restart_only_a_new_claim_writes() {
        let mut ledger = Ledger::from_epochs([(SHARD, 4)]);
        assert_eq!(ledger.admit(Claim { shard: SHARD, epoch: 4 }, 1), Err(Error::Fenced));
        assert_eq!(ledger.claim(SHARD).epoch, 5);
    }

    #[test]
    fn a_rolled_back_claim_never_happened() {
        let mut ledger = Ledger::default();
        let claim = ledger.claim(SHARD);
        let before = ledger.owner(SHARD);
        ledger.admit(claim, 1).unwrap();
        ledger.claim(SHARD);
        ledger.restore(SHARD, before);
        assert_eq!(ledger.admit(claim, 1), Ok(()));
    }
}
