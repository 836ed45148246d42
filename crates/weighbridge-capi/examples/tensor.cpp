// tensor FOLDER NAME VKEY-FILE FILE TENSOR: reads one tensor, of which only the chunks that hold it are read and hashed.

#include <ctime>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <weighbridge.h>

// Handles that free themselves, and codes that are thrown.
struct Free {
    void operator()(wb_policy *policy) const { wb_policy_free(policy); }
    void operator()(wb_model *model) const { wb_model_free(model); }
};
template <typename T> using Handle = std::unique_ptr<T, Free>;

struct Error : std::runtime_error {
    explicit Error(const wb_error &error) : std::runtime_error(error.message), code(error.code) {}
    wb_code code;
};

template <typename T, typename Make> Handle<T> made(Make make)
{
    wb_error error;
    T *handle = nullptr;
    if (make(&handle, &error) != WB_OK)
        throw Error(error);
    return Handle<T>(handle);
}

int main(int count, char **arguments) try {
    if (count != 6)
        throw std::invalid_argument("usage: tensor FOLDER NAME VKEY-FILE FILE TENSOR");
    std::ifstream opened(arguments[3], std::ios::binary);
    const std::vector<uint8_t> vkey{std::istreambuf_iterator<char>(opened), {}};
    auto policy = made<wb_policy>([&](wb_policy **policy, wb_error *error) {
        return wb_policy_of_vkeys(vkey.data(), vkey.size(), policy, error);
    });
    wb_expected expected{};
    expected.name = arguments[2];
    expected.now = std::time(nullptr);
    auto model = made<wb_model>([&](wb_model **model, wb_error *error) {
        return wb_model_open(arguments[1], nullptr, policy.get(), &expected, model, error);
    });

    wb_tensor tensor;
    if (!wb_tensors_find(wb_model_tensors(model.get()), arguments[4], arguments[5], &tensor))
        throw std::invalid_argument("the model has no such tensor");
    std::vector<uint8_t> bytes(tensor.size);
    wb_error error;
    if (wb_model_read_tensor(model.get(), tensor.position, 0, bytes.data(), bytes.size(), &error) != WB_OK)
        throw Error(error);

    std::cout << std::string(tensor.dtype.data, tensor.dtype.len);
    for (size_t dimension = 0; dimension < tensor.rank; dimension++)
        std::cout << (dimension ? " x " : " ") << tensor.shape[dimension];
    uint64_t chunks = 0;
    wb_model_reads(model.get(), &chunks, nullptr);
    std::cout << ", " << bytes.size() << " bytes, of " << chunks << " chunks\n";
    return 0;
} catch (const Error &error) {
    std::cerr << error.what() << " [W" << error.code << "]\n";
    return wb_is_refusal(error.code) ? 1 : 2;
} catch (const std::exception &error) {
    std::cerr << error.what() << "\n";
    return 2;
}
