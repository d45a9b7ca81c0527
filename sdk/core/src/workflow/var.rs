//! [`Var`]: a cell that wakes whoever waits for its value.

use std::{
    cell::RefCell,
    fmt,
    future::{Future, poll_fn},
    rc::Rc,
    task::{Poll, Waker},
};

use crate::workflow::task;

/// State of a workflow that handlers change and that the workflow waits for.
///
/// Copies share the value. It is read by copying, never by borrowing, so nothing is held while something is awaited.
/// A condition is looked at again only when the value was changed.
///
/// ```
/// use mainspring_sdk::workflow::Var;
///
/// let approved = Var::new(None::<String>);
/// approved.set(Some("ann".to_owned()));
/// approved.update(|by| by.iter_mut().for_each(|name| name.push('!')));
/// assert_eq!(approved.get().as_deref(), Some("ann!"));
/// ```
pub struct Var<T> {
    shared: Rc<Shared<T>>,
}

struct Shared<T> {
    value: RefCell<T>,
    waiting: RefCell<Vec<Waker>>,
}

impl<T> Var<T> {
    /// A cell with this value.
    pub fn new(value: T) -> Var<T> {
        Var { shared: Rc::new(Shared { value: RefCell::new(value), waiting: RefCell::default() }) }
    }

    /// Replaces the value.
    pub fn set(&self, value: T) {
        let before = self.shared.value.replace(value);
        self.wake();
        drop(before);
    }

    /// Changes the value in place and gives what `change` gives. `change` must not touch this `Var` itself.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.shared.value.borrow_mut());
        self.wake();
        result
    }

    /// Looks at the value without copying it.
    pub fn with<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.shared.value.borrow())
    }

    /// Waits until the value is as `condition` wants it.
    pub fn until<'a>(&'a self, condition: impl Fn(&T) -> bool + 'a) -> impl Future<Output = ()> + 'a {
        poll_fn(move |cx| {
            if condition(&self.shared.value.borrow()) {
                return Poll::Ready(());
            }
            self.wait_in(cx.waker());
            Poll::Pending
        })
    }

    fn wait_in(&self, waker: &Waker) {
        let mut waiting = self.shared.waiting.borrow_mut();
        if !waiting.iter().any(|known| known.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        task::park();
    }

    fn wake(&self) {
        for waker in self.shared.waiting.take() {
            waker.wake();
        }
    }
}

impl<T: Clone> Var<T> {
    /// A copy of the value.
    pub fn get(&self) -> T {
        self.shared.value.borrow().clone()
    }

    /// Waits until the value is as `condition` wants it, and copies it.
    pub async fn wait(&self, condition: impl Fn(&T) -> bool) -> T {
        self.until(condition).await;
        self.get()
    }
}

impl<T: Clone> Var<Option<T>> {
    /// Waits until there is a value, and copies it.
    pub fn some(&self) -> impl Future<Output = T> + '_ {
        poll_fn(move |cx| match self.shared.value.borrow().as_ref() {
            Some(value) => Poll::Ready(value.clone()),
            None => {
                self.wait_in(cx.waker());
                Poll::Pending
            }
        })
    }
}

impl<T> Clone for Var<T> {
    fn clone(&self) -> Var<T> {
        Var { shared: self.shared.clone() }
    }
}

impl<T: Default> Default for Var<T> {
    fn default() -> Var<T> {
        Var::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for Var<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.value.borrow().fmt(f)
    }
}
