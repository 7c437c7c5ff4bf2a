# A value where it lies in shared memory, pinned, as a read-only buffer.
#
# The pin keeps the run from being reused and the reference keeps the mapping, so the bytes stay as
# they are after overwrite, delete, close() and the death of the node that holds them. Dropping the
# last exporter (memoryview or ndarray) drops this object, and with it both.
from cpython.buffer cimport PyBUF_FORMAT, PyBUF_ND, PyBUF_STRIDES, PyBUF_WRITABLE
from dsm_native._native.core cimport (
    dsm_cluster, dsm_cluster_drop, dsm_cluster_hold, dsm_read, dsm_read_unpin, dsm_read_value,
)


cdef class PinnedBuffer:
    """Read-only bytes of one object, shared with every process. Supports the buffer protocol."""

    @staticmethod
    cdef PinnedBuffer adopt(dsm_cluster *cluster, const dsm_read *read):
        cdef PinnedBuffer self = PinnedBuffer.__new__(PinnedBuffer)
        self.read = read[0]
        self.cluster = cluster
        self.shape[0] = <Py_ssize_t>read.header.value_bytes
        self.strides[0] = 1
        dsm_cluster_hold(cluster)
        return self

    def __dealloc__(self):
        if self.cluster != NULL:
            dsm_read_unpin(&self.cluster.space, &self.read)
            dsm_cluster_drop(self.cluster)

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        if flags & PyBUF_WRITABLE:
            raise BufferError("views of objects are read-only; put() replaces the object")
        buffer.buf = <void *>dsm_read_value(&self.cluster.space, &self.read)
        buffer.obj = self
        buffer.len = self.shape[0]
        buffer.itemsize = 1
        buffer.readonly = 1
        buffer.ndim = 1
        buffer.format = NULL
        buffer.shape = NULL
        buffer.strides = NULL
        if flags & PyBUF_FORMAT:
            buffer.format = b"B"
        if flags & PyBUF_ND:
            buffer.shape = self.shape
        if flags & PyBUF_STRIDES == PyBUF_STRIDES:
            buffer.strides = self.strides
        buffer.suboffsets = NULL
        buffer.internal = NULL

    def __releasebuffer__(self, Py_buffer *buffer):
        pass
