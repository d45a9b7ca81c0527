//! The sending of effects: at least once, one try at a time; their answers lost, late and repeated.

use std::time::Duration;

use mainspring_engine::{
    Effect, Input,
    input::{Answer, EffectAnswered},
    state::RunNumber,
};
use mainspring_history::{
    Answered, Error,
    shard::{Event, Target, Work},
};
use mainspring_store::{Table, keys};

use crate::{
    checks::Expect,
    node::NodeEvent,
    planted::Planted,
    sim::{Alarm, Sim},
    world::{Caller, Parcel, chain_key, describe_effect, namespace_by_name, namespace_id, shard_id},
};

/// An effect that its shard has handed out and that is not answered yet.
pub(crate) struct Sending {
    shard: usize,
    run: RunNumber,
    number: u64,
    effect: Effect,
    tries: u64,
}

impl Sim {
    pub(crate) fn send(&mut self, shard: usize, run: RunNumber, number: u64, effect: Effect) {
        self.note(|| format!("send {}/{number} {}", run.0, describe_effect(&effect)));
        if self.store.get_now(Table::Queue, &keys::outbox(shard_id(shard), run, number)).is_none() {
            self.fail(format!("effect {number} of run {} is sent before it is durable", run.0));
        }
        let id = self.new_id();
        self.sendings.insert(id, Sending { shard, run, number, effect, tries: 0 });
        self.network.push(Parcel::Send(id));
    }

    /// Calls the target.
    pub(crate) fn carry_out_effect(&mut self, id: u64) {
        let new_request = self.planted == Some(Planted::EffectWithNewRequest);
        let Some(sending) = self.sendings.get_mut(&id) else { return };
        let Some(namespace) = namespace_by_name(&sending.effect.namespace) else {
            let answer = sending.effect.namespace_unknown();
            self.sometimes.saw("namespace unknown");
            return self.bring_back(id, answer);
        };
        let number = if new_request { sending.number + 1_000 * sending.tries } else { sending.number };
        sending.tries += 1;
        let input = match sending.effect.to_input(number, &namespace_id(namespace).to_string()) {
            Ok(input) => input,
            Err(answer) => {
                self.sometimes.saw("effect on itself");
                return self.bring_back(id, answer);
            }
        };
        let key = chain_key(namespace, &sending.effect.workflow_id);
        self.call(key, input, Caller::Effect(id), Expect::Nothing);
    }

    pub(crate) fn effect_answered(&mut self, id: u64, result: Option<Result<Answered, Error>>) {
        // One try at a time: what it is told last counts.
        let lost = self.faulty() && self.random.hits(self.plan.faults.answer_lost);
        let Some(sending) = self.sendings.get(&id) else { return };
        let answer = match result.filter(|_| !lost) {
            Some(Ok(Answered::Reply(answer))) => sending.effect.answer(&Ok(answer.reply)),
            Some(Err(Error::Rejected(rejected))) => sending.effect.answer(&Err(rejected)),
            _ => None,
        };
        match answer {
            Some(answer) => self.bring_back(id, answer),
            None => {
                let pause = Duration::from_millis(self.random.between(50, 2_000));
                self.alarm(pause, Alarm::Resend(id));
            }
        }
    }

    fn bring_back(&mut self, id: u64, answer: Answer) {
        if self.planted == Some(Planted::EffectAnswerLost) && self.random.one_in(10) {
            return;
        }
        let Some(sending) = self.sendings.remove(&id) else { return };
        let answered = EffectAnswered {
            run: sending.run,
            effect: sending.number,
            initiated_event_id: sending.effect.initiated_event_id,
            answer,
        };
        let mail = |answered: &EffectAnswered| -> NodeEvent {
            let input = Input::EffectAnswered(Box::new(answered.clone()));
            Event::Work(Target::Run(sending.run), Work::call(input, None))
        };
        let shard = sending.shard;
        // A late repeat of a refusal must not meet a new try, which may end otherwise.
        let final_word = !matches!(answered.answer, Answer::Refused { .. } | Answer::ChildRefused { .. });
        if final_word && self.faulty() && self.random.hits(self.plan.faults.answer_repeated) {
            self.sometimes.saw("answer repeated");
            self.network.push(Parcel::Mail { shard, event: Box::new(mail(&answered)) });
        }
        self.post(shard, mail(&answered));
    }
}
