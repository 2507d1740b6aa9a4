//! Futures in contexts: what a task is handed along with its work. Cold: once a poll, beside no span of its own.

use super::{Leaving, TraceContext};
use crate::trace::context::Bound;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};

pin_project! {
    /// A future in a context; made by [`InSpan::in_context`](crate::InSpan::in_context). Like
    /// [`Spanned`](crate::Spanned), it panics when it is polled after it has ended.
    ///
    /// ```
    /// use tellane::{Context, InContext, InSpan};
    /// let future: InContext<std::future::Ready<()>> = std::future::ready(()).in_context(Context::current());
    /// # drop(future);
    /// ```
    #[derive(Debug)]
    #[must_use = "a future does nothing unless it is polled"]
    pub struct InContext<F> {
        // `None` once it has ended.
        #[pin]
        future: Option<F>,
        context: TraceContext,
        // `None` as long as the context is of no instance.
        bound: Option<Bound>,
    }

    impl<F> PinnedDrop for InContext<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_some() {
                let _inside = Leaving(this.bound.as_ref().and_then(Bound::enter));
                this.future.set(None); // what its destructors record is recorded in the context
            }
        }
    }
}

impl<F> InContext<F> {
    pub(super) fn new(future: F, context: TraceContext) -> Self {
        let bound = context.bind();
        Self { future: Some(future), context, bound }
    }
}

impl<F: Future> Future for InContext<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        if this.bound.is_none() {
            *this.bound = this.context.bind(); // an instance may have been installed since
        }
        let _inside = Leaving(this.bound.as_ref().and_then(Bound::enter));
        let Some(future) = this.future.as_mut().as_pin_mut() else { super::polled_after_its_end() };
        let outcome = future.poll(context);
        if outcome.is_ready() {
            this.future.set(None);
        }
        outcome
    }
}
