//! Waiting for several futures: all, the first, each as it comes. Always in the order in which they are written, so
//! that a replay chooses the same.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// Waits for all of the futures and gives their results as a tuple.
///
/// ```no_run
/// # use mainspring_sdk::{Call, Result, workflow::Ctx, join};
/// # use std::time::Duration;
/// # async fn example(cx: Ctx) -> Result<()> {
/// let (slow, fast) = join!(cx.sleep(Duration::from_secs(2)), cx.sleep(Duration::from_secs(1)));
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! join {
    ($a:expr $(,)?) => { ($a.await,) };
    ($a:expr, $b:expr $(,)?) => { $crate::workflow::__join2($a, $b).await };
    ($a:expr, $b:expr, $($rest:expr),+ $(,)?) => {
        $crate::__join!([$a, $b] $($rest,)+)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __join {
    ([$a:expr, $b:expr] $c:expr,) => {{
        let ((a, b), c) = $crate::workflow::__join2($crate::workflow::__join2($a, $b), $c).await;
        (a, b, c)
    }};
    ([$a:expr, $b:expr] $c:expr, $d:expr,) => {{
        let first = $crate::workflow::__join2($a, $b);
        let second = $crate::workflow::__join2($c, $d);
        let ((a, b), (c, d)) = $crate::workflow::__join2(first, second).await;
        (a, b, c, d)
    }};
    ([$a:expr, $b:expr] $c:expr, $d:expr, $e:expr,) => {{
        let first = $crate::workflow::__join2($a, $b);
        let second = $crate::workflow::__join2($c, $d);
        let both = $crate::workflow::__join2(first, second);
        let (((a, b), (c, d)), e) = $crate::workflow::__join2(both, $e).await;
        (a, b, c, d, e)
    }};
    ([$a:expr, $b:expr] $c:expr, $d:expr, $e:expr, $f:expr,) => {{
        let first = $crate::workflow::__join2($a, $b);
        let second = $crate::workflow::__join2($c, $d);
        let third = $crate::workflow::__join2($e, $f);
        let both = $crate::workflow::__join2(first, second);
        let (((a, b), (c, d)), (e, f)) = $crate::workflow::__join2(both, third).await;
        (a, b, c, d, e, f)
    }};
}

/// Waits for the first of the futures; the others are dropped, which cancels operations.
///
/// ```no_run
/// # use mainspring_sdk::{Call, Result, workflow::Ctx, race};
/// # use std::time::Duration;
/// # async fn example(cx: Ctx) -> Result<&'static str> {
/// let quote = cx.run(Call::named("Quote").start_to_close(Duration::from_secs(9)));
/// race! {
///     answer = quote => answer.map(|()| "answered"),
///     _ = cx.sleep(Duration::from_secs(5)) => Ok("too slow"),
/// }
/// # }
/// ```
#[macro_export]
macro_rules! race {
    ($pattern:pat = $future:expr => $then:expr $(,)?) => {{
        let $pattern = $future.await;
        $then
    }};
    ($pattern:pat = $future:expr => $then:expr, $($rest:tt)+) => {
        $crate::__race!([] $pattern = $future => $then, $($rest)+)
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __race {
    // Gathers the arms, then builds the nest of futures and of matches.
    ([$($arms:tt)*] $pattern:pat = $future:expr => $then:expr, $($rest:tt)+) => {
        $crate::__race!([$($arms)* {$pattern, $future, $then}] $($rest)+)
    };
    ([$($arms:tt)*] $pattern:pat = $future:expr => $then:expr $(,)?) => {{
        let raced = $crate::__race!(@future $($arms)* {$pattern, $future, $then}).await;
        $crate::__race!(@match raced, $($arms)* {$pattern, $future, $then})
    }};
    (@future {$pattern:pat, $future:expr, $then:expr}) => { $future };
    (@future {$pattern:pat, $future:expr, $then:expr} $($rest:tt)+) => {
        $crate::workflow::race2($future, $crate::__race!(@future $($rest)+))
    };
    (@match $raced:expr, {$pattern:pat, $future:expr, $then:expr}) => {{
        let $pattern = $raced;
        $then
    }};
    (@match $raced:expr, {$pattern:pat, $future:expr, $then:expr} $($rest:tt)+) => {
        match $raced {
            $crate::workflow::Either::First($pattern) => $then,
            $crate::workflow::Either::Second(rest) => $crate::__race!(@match rest, $($rest)+),
        }
    };
}

/// One of two results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// The first future was first.
    First(A),
    /// The second future was first.
    Second(B),
}

/// The first of two futures to end; the other one is dropped. When both are ready, the first one.
pub async fn race2<A: Future, B: Future>(a: A, b: B) -> Either<A::Output, B::Output> {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    std::future::poll_fn(move |cx| {
        if let Poll::Ready(value) = a.as_mut().poll(cx) {
            return Poll::Ready(Either::First(value));
        }
        b.as_mut().poll(cx).map(Either::Second)
    })
    .await
}

#[doc(hidden)]
pub async fn __join2<A: Future, B: Future>(a: A, b: B) -> (A::Output, B::Output) {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    let (mut left, mut right) = (None, None);
    std::future::poll_fn(move |cx| {
        if left.is_none()
            && let Poll::Ready(value) = a.as_mut().poll(cx)
        {
            left = Some(value);
        }
        if right.is_none()
            && let Poll::Ready(value) = b.as_mut().poll(cx)
        {
            right = Some(value);
        }
        match (left.take(), right.take()) {
            (Some(left), Some(right)) => Poll::Ready((left, right)),
            (unfinished_left, unfinished_right) => {
                (left, right) = (unfinished_left, unfinished_right);
                Poll::Pending
            }
        }
    })
    .await
}

/// Waits for all of the futures and gives their results in the order of the futures.
pub fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> impl Future<Output = Vec<F::Output>> {
    let mut unordered: Unordered<F> = futures.into_iter().collect();
    let count = unordered.pending.len();
    async move {
        let mut results: Vec<Option<F::Output>> = (0..count).map(|_| None).collect();
        while let Some((position, value)) = unordered.next_with_position().await {
            if let Some(place) = results.get_mut(position) {
                *place = Some(value);
            }
        }
        results.into_iter().flatten().collect()
    }
}

/// Futures whose results are taken as they come.
///
/// ```no_run
/// # use mainspring_sdk::{Result, workflow::{Ctx, Unordered}};
/// # use std::time::Duration;
/// # async fn example(cx: Ctx) -> Result<()> {
/// let mut timers: Unordered<_> = (1..4).map(|count| cx.sleep(Duration::from_secs(count))).collect();
/// while let Some(fired) = timers.next().await {
///     fired?;
/// }
/// # Ok(())
/// # }
/// ```
pub struct Unordered<F> {
    pending: Vec<(usize, Pin<Box<F>>)>,
    pushed: usize,
}

impl<F: Future> Unordered<F> {
    /// None yet.
    pub fn new() -> Unordered<F> {
        Unordered { pending: Vec::new(), pushed: 0 }
    }

    /// Adds one.
    pub fn push(&mut self, future: F) {
        self.pending.push((self.pushed, Box::pin(future)));
        self.pushed += 1;
    }

    /// How many have not ended.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// True when all have ended.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The result of the next one to end; of those that have ended, the one that was added first.
    pub async fn next(&mut self) -> Option<F::Output> {
        Some(self.next_with_position().await?.1)
    }

    fn next_with_position(&mut self) -> impl Future<Output = Option<(usize, F::Output)>> + '_ {
        std::future::poll_fn(move |cx: &mut Context<'_>| {
            for index in 0..self.pending.len() {
                if let Poll::Ready(value) = self.pending[index].1.as_mut().poll(cx) {
                    let (position, _) = self.pending.remove(index);
                    return Poll::Ready(Some((position, value)));
                }
            }
            if self.pending.is_empty() { Poll::Ready(None) } else { Poll::Pending }
        })
    }
}

impl<F: Future> Default for Unordered<F> {
    fn default() -> Unordered<F> {
        Unordered::new()
    }
}

impl<F: Future> FromIterator<F> for Unordered<F> {
    fn from_iter<I: IntoIterator<Item = F>>(futures: I) -> Unordered<F> {
        let mut unordered = Unordered::new();
        futures.into_iter().for_each(|future| unordered.push(future));
        unordered
    }
}
