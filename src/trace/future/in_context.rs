//! Futures in contexts, for tasks that take a context along but have no span of their own. Cold: runs once a poll.

use super::{ExitGuard, TraceContext};
use crate::trace::context::Bound;
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll};

pin_project! {
    /// A future in a context; made by [`InSpan::in_context`](crate::InSpan::in_context). Like
    /// [`Spanned`](crate::Spanned), it panics when it is polled after completion.
    ///
    /// ```
    /// use tellane::{Context, InContext, InSpan};
    /// let future: InContext<std::future::Ready<()>> = std::future::ready(()).in_context(Context::current());
    /// # drop(future);
    /// ```
    #[derive(Debug)]
    #[must_use = "a future does nothing unless it is polled"]
    pub struct InContext<F> {
        // `None` after completion.
        #[pin]
        future: Option<F>,
        context: TraceContext,
        // `None` as long as the context is not bound to an instance.
        bound: Option<Bound>,
    }

    impl<F> PinnedDrop for InContext<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.future.is_some() {
                let _entry = ExitGuard(this.bound.as_ref().and_then(Bound::enter));
                this.future.set(None); // dropped while the context is attached, since the future's destructors may record
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
        let _entry = ExitGuard(this.bound.as_ref().and_then(Bound::enter));
        let Some(future) = this.future.as_mut().as_pin_mut() else { super::polled_after_completion() };
        let result = future.poll(context);
        if result.is_ready() {
            this.future.set(None);
        }
        result
    }
}
