// dtq from C++: the same calls, with the client owned by a unique_ptr.
//
//     submit_cpp [VENTILATOR]
#include <dtq/dtq.h>

#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

struct Close {
    void operator()(dtq_client *client) const
    {
        dtq_client_close(client);
    }
};
using Client = std::unique_ptr<dtq_client, Close>;

static void check(dtq_err err, const Client &client, const char *what)
{
    if (err != DTQ_OK)
        throw std::runtime_error(std::string(what) + ": " + dtq_client_errmsg(client.get()));
}

static Client open(const char *ventilator)
{
    dtq_client *client = nullptr;
    dtq_options options;

    dtq_options_init(&options);
    options.ventilator = ventilator;
    if (dtq_err err = dtq_client_open(&options, &client); err != DTQ_OK)
        throw std::runtime_error(dtq_strerror(err));
    return Client(client);
}

static dtq_id submit(const Client &client, const char *name, std::string_view payload)
{
    dtq_task task;
    dtq_id id;

    dtq_task_init(&task, name, payload.data(), payload.size());
    check(dtq_submit(client.get(), &task, 5000, &id), client, "cannot submit");
    return id;
}

int main(int argc, char **argv)
try {
    Client client = open(argc > 1 ? argv[1] : nullptr);
    std::vector<dtq_id> ids;

    for (const char *word : {"from", "C++", "too"})
        ids.push_back(submit(client, "echo", word));

    std::vector<dtq_result> results(ids.size());
    check(dtq_wait_all(client.get(), ids.data(), ids.size(), 30000, results.data()), client,
          "cannot wait");
    // What a result points to is borrowed until the next call: copy what is to be kept.
    for (const dtq_result &r : results)
        std::cout << std::string_view(static_cast<const char *>(r.body), r.body_bytes) << '\n';
    return 0;
} catch (const std::exception &e) {
    std::cerr << e.what() << '\n';
    return 1;
}
